// What a user of OpenAI's JavaScript library meets at a MetaClaw host: `checks.mjs BASE_URL KEY`.
//
// The words of the requests are cues for the scripted upstream in `tests/all/sdk.rs`. One line for each check; the exit
// code is 1 if any failed.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const [baseURL, apiKey] = process.argv.slice(2);
const options = { baseURL, apiKey, maxRetries: 0, timeout: 20_000 };
const model = "any-model";
const client = new OpenAI(options);
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

const user = (content) => [{ role: "user", content }];
const say = (text, more = {}, from = client, request = {}) =>
  from.chat.completions.create({ model, messages: user(text), ...more }, request);
const words = async (text) => (await say(text)).choices[0].message.content;
const all = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};

/** What `promise` is rejected with, which must be exactly a `kind`: the subclass tells a program what to do. */
async function rejected(kind, promise) {
  const error = await promise.then(
    (got) => assert.fail(`returned ${JSON.stringify(got)}, wanted ${kind.name}`),
    (error) => error,
  );
  assert.equal(error.constructor, kind, error.stack);
  return error;
}

const gone = async () => Number(await words("how many went away?"));
async function untilGone(wanted) {
  const deadline = Date.now() + 10_000;
  while ((await gone()) < wanted) {
    assert.ok(Date.now() < deadline, "the upstream was not told that the client went away");
  }
}

const checks = {
  async "an answer in one piece"() {
    const answer = await say("hello", { temperature: 0.5, user: "u1" });
    const { message, finish_reason } = answer.choices[0];
    assert.deepEqual([message.role, message.content, finish_reason], ["assistant", "echo: hello", "stop"]);
    assert.deepEqual(answer.usage, { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 });
    assert.deepEqual([answer.object, answer.model], ["chat.completion", "test-model"]);
    assert.ok(answer._request_id, "no request id");
  },

  async "default headers name the agent and the session"() {
    const named = new OpenAI({ ...options, defaultHeaders: { "X-Agent-Id": "Writer" } });
    const headers = { "X-Session-Id": "letter-1", "X-Turn-Type": "main" };
    const { data, response } = await say("hi", {}, named, { headers }).withResponse();
    assert.equal(data.choices[0].message.content, "echo: hi");
    assert.equal(response.headers.get("x-metaclaw-agent"), "writer");
    assert.equal(response.headers.get("x-metaclaw-session"), "letter-1");
  },

  async "chunks arrive one by one"() {
    const stream = await say("piece by piece", { stream: true, stream_options: { include_usage: true } });
    const pieces = [];
    let finish, usage;
    for await (const chunk of stream) {
      assert.equal(chunk.object, "chat.completion.chunk");
      if (chunk.usage) {
        assert.deepEqual(chunk.choices, []);
        usage = chunk.usage;
        continue;
      }
      const [choice] = chunk.choices;
      finish ??= choice.finish_reason;
      if (choice.delta.content) {
        pieces.push(choice.delta.content);
        // The upstream makes the next piece only now.
        assert.equal(await words("next piece"), "ok");
      }
    }
    assert.deepEqual([pieces, finish, usage?.total_tokens], [["one ", "two ", "three"], "stop", 14]);
  },

  async "the stream helper puts an answer together"() {
    const deltas = [];
    const stream = client.chat.completions.stream({ model, messages: user("a b c") });
    stream.on("content", (delta) => deltas.push(delta));
    const answer = await stream.finalChatCompletion();
    assert.equal(answer.choices[0].message.content, "echo: a b c");
    assert.deepEqual(deltas.filter(Boolean), ["echo: ", "a ", "b ", "c"]);
  },

  async "tools are called and answered"() {
    const question = user("weather in Paris and Rome?");
    const answer = await client.chat.completions.create({ model, messages: question, tools });
    const { message, finish_reason } = answer.choices[0];
    assert.deepEqual([finish_reason, message.content], ["tool_calls", null]);
    const calls = message.tool_calls;
    assert.deepEqual(calls.map((c) => [c.id, c.type, c.function.name]), [
      ["call_1", "function", "weather"],
      ["call_2", "function", "weather"],
    ]);
    assert.deepEqual(calls.map((c) => JSON.parse(c.function.arguments)), [{ city: "Paris" }, { city: "Rome" }]);
    const results = calls.map((c, i) => ({ role: "tool", tool_call_id: c.id, content: `${[21, 25][i]} degrees` }));
    const messages = [...question, message, ...results];
    const final = await client.chat.completions.create({ model, messages, tools });
    assert.equal(final.choices[0].message.content, "echo: call_1 21 degrees, call_2 25 degrees");
  },

  async "streamed tool calls come in pieces"() {
    const chunks = await all(await say("weather in Paris and Rome?", { tools, stream: true }));
    const pieces = chunks.flatMap((c) => c.choices).flatMap((c) => c.delta.tool_calls ?? []);
    const named = pieces.filter((p) => p.id).map((p) => [p.id, p.function.name]);
    assert.deepEqual(named, [["call_1", "weather"], ["call_2", "weather"]]);
    assert.deepEqual(pieces.map((p) => p.index), [0, 0, 0, 1, 1]);
    ["Paris", "Rome"].forEach((city, index) => {
      const joined = pieces.filter((p) => p.index === index).map((p) => p.function.arguments ?? "").join("");
      assert.deepEqual(JSON.parse(joined), { city });
    });
  },

  async "the library runs the tools by itself, streamed or not"() {
    const weather = (args) => ({ Paris: "21 degrees", Rome: "25 degrees" })[args.city];
    const own = { type: "function", function: { ...tools[0].function, function: weather, parse: JSON.parse } };
    for (const stream of [false, true]) {
      const run = client.chat.completions.runTools({ model, messages: user("weather?"), tools: [own], stream });
      assert.equal(await run.finalContent(), "echo: call_1 21 degrees, call_2 25 degrees");
    }
  },

  async "structured output is parsed"() {
    const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
    const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema } };
    const answer = await client.chat.completions.parse({ model, messages: user("where?"), response_format });
    assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: "Paris" });
  },

  async "a bad agent id is a bad request"() {
    const bad = client.withOptions({ defaultHeaders: { "X-Agent-Id": "../x" } });
    for (const stream of [false, true]) {
      const error = await rejected(OpenAI.BadRequestError, say("hi", { stream }, bad));
      assert.deepEqual([error.status, error.code, error.type], [400, "invalid_identity", "invalid_request_error"]);
      assert.match(error.message, /\.\.\/x/);
      assert.ok(error.requestID, "no request id");
    }
  },

  async "the upstream's complaints keep their kind"() {
    for (const [cue, kind] of [
      ["status 400", OpenAI.BadRequestError],
      ["status 404", OpenAI.NotFoundError],
      ["status 422", OpenAI.UnprocessableEntityError],
      ["status 429", OpenAI.RateLimitError],
    ]) {
      for (const stream of [false, true]) {
        const error = await rejected(kind, say(cue, { stream }));
        assert.ok(error.message.includes(cue.replace("status", "says")), error.message);
      }
    }
  },

  async "the upstream's refusal of the host's key is not the client's fault"() {
    for (const cue of ["status 401", "status 403"]) {
      const error = await rejected(OpenAI.BadRequestError, say(cue));
      assert.deepEqual([error.status, error.code], [400, "upstream_refused"]);
      assert.ok(!error.message.includes("says 40"), "the upstream's words about the host's key are not for the client");
    }
  },

  async "a wrong key for the host is an authentication error"() {
    for (const key of ["wrong", apiKey + "x"]) {
      const error = await rejected(OpenAI.AuthenticationError, say("hi", {}, client.withOptions({ apiKey: key })));
      assert.deepEqual([error.status, error.code], [401, "invalid_api_key"]);
    }
  },

  async "a path that is not there says what is"() {
    const error = await rejected(OpenAI.NotFoundError, client.responses.create({ model, input: "hi" }));
    assert.match(error.message, /\/v1\/chat\/completions/);
  },

  async "the library tries again after a rate limit"() {
    const answer = await say("busy once: node", {}, client, { maxRetries: 2 });
    assert.equal(answer.choices[0].message.content, "echo: busy once: node");
  },

  async "a stream that breaks off is an error and no short answer"() {
    const stream = (await say("break off", { stream: true }))[Symbol.asyncIterator]();
    assert.equal((await stream.next()).value.choices[0].delta.content, "so far");
    assert.equal((await rejected(OpenAI.APIError, stream.next())).code, "upstream_broken");
  },

  async "aborting a stream stops the upstream"() {
    const before = await gone();
    const stream = await say("talk for ever", { stream: true });
    for await (const chunk of stream) {
      assert.equal(chunk.choices[0].delta.content, "so far");
      assert.equal(await gone(), before);
      stream.controller.abort();
    }
    await untilGone(before + 1);

    // Leaving the loop is enough, too.
    for await (const _ of await say("talk for ever", { stream: true })) break;
    await untilGone(before + 2);

    const abort = new AbortController();
    const helper = client.chat.completions.stream({ model, messages: user("talk for ever") }, { signal: abort.signal });
    helper.on("content", () => abort.abort());
    await rejected(OpenAI.APIUserAbortError, helper.done());
    await untilGone(before + 3);
  },

  async "models are listed"() {
    const models = await all(client.models.list());
    assert.deepEqual(models.map((m) => [m.id, m.object]), [["test-model", "model"]]);
  },

  async "a policy's refusal is an ordinary answer"() {
    const refusing = client.withOptions({ defaultHeaders: { "X-Agent-Id": "assistant" } });
    const answer = await say("read me my horoscope", {}, refusing);
    const { message, finish_reason } = answer.choices[0];
    assert.match(message.content, /horoscope/);
    assert.doesNotMatch(message.content, /echo/);
    assert.deepEqual([finish_reason, answer.usage.total_tokens], ["stop", 0]);
    const streamed = { stream: true, stream_options: { include_usage: true } };
    const chunks = await all(await say("read me my horoscope", streamed, refusing));
    assert.equal(chunks.map((c) => c.choices[0]?.delta.content ?? "").join(""), message.content);
    assert.equal(chunks.at(-2).choices[0].finish_reason, "stop");
    assert.equal(chunks.at(-1).usage.total_tokens, 0);
  },

  async "five megabytes pass whole"() {
    const text = "0123456789abcdé ".repeat(Math.floor((5 * 1024 * 1024) / 17));
    assert.ok(Buffer.byteLength(text) > 5_000_000);
    assert.ok((await words(text)) === "echo: " + text);
  },

  async "many at once"() {
    const texts = Array.from({ length: 50 }, (_, n) => `hello ${n}`);
    assert.deepEqual(await Promise.all(texts.map(words)), texts.map((t) => "echo: " + t));
    const joined = async (text) => {
      const chunks = await all(await say(text, { stream: true }));
      return chunks.map((c) => c.choices[0]?.delta.content ?? "").join("");
    };
    assert.deepEqual(await Promise.all(texts.map(joined)), texts.map((t) => "echo: " + t));
  },
};

/** Fails when `promise` does not settle: Node would end without a word. */
function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, 30_000, new Error("still waiting after 30 s"))));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

let failed = 0;
console.log(`openai ${VERSION}, Node ${process.versions.node}`);
for (const [name, check] of Object.entries(checks)) {
  const began = performance.now();
  try {
    await inTime(check());
    console.log(`ok      ${name} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
