// Drives the plugin as OpenClaw does, without OpenClaw: `node --test index.test.ts` (Node 24 or newer).
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";

import plugin from "./index.ts";

type Options = { sessionId?: string; requestId?: string; headers?: Record<string, string> };
type Model = { baseUrl: string; headers?: Record<string, string> };
type Sent = { model: Model; headers: Record<string, string> };
type StreamFn = (model: Model, context: object, options?: Options) => unknown;
type Hook = (event: object, ctx: object) => unknown;
type Wrap = (ctx: { agentId?: string; config?: object; streamFn?: StreamFn }) => StreamFn | undefined;
type Provider = { id: string; wrapStreamFn: Wrap; wrapSimpleCompletionStreamFn: Wrap };
type Ended = { url: string | undefined; method: string | undefined; headers: IncomingHttpHeaders };

let server: Server;
let base: string;
let ended: Ended[];
/** Answers a session's end; a test may replace it. */
let answer: () => number | Promise<number>;

before(async () => {
  server = createServer(async (request, response) => {
    ended.push({ url: request.url, method: request.method, headers: request.headers });
    response.writeHead(await answer(), { location: "/elsewhere" }).end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => server.close());
beforeEach(() => {
  ended = [];
  answer = () => 204;
});

/** OpenClaw in miniature: the hooks that the plugin registered, the provider, and what it logged. */
function openclaw({ baseUrl = `${base}/v1`, access = true } = {}) {
  const hooks = new Map<string, Hook>();
  const logged: string[] = [];
  const agents = { entries: { research: {}, coder: {} } };
  const config = {
    agents,
    models: { providers: { metaclaw: { baseUrl } } },
    plugins: { entries: { metaclaw: { hooks: { allowConversationAccess: access } } } },
  };
  let provider: Provider | undefined;
  const log = (message: string) => void logged.push(message);
  const api = {
    id: "metaclaw",
    config,
    logger: { debug: log, info: log, warn: log, error: log },
    on: (name: string, hook: Hook) => void hooks.set(name, hook),
    registerProvider: (registered: Provider) => void (provider = registered),
    runtime: {
      config: { current: () => config },
      modelAuth: {
        // Like the real one, it knows no key when it cannot tell whose credentials are meant.
        resolveApiKeyForProvider: async ({ cfg }: { cfg: { agents: typeof agents } }) => {
          const [agent, ...others] = Object.keys(cfg.agents.entries);
          if (others.length > 0) throw new Error("AGENT_SELECTION_REQUIRED");
          return { apiKey: `key-of-${agent}` };
        },
      },
    },
  };
  plugin.register(api as unknown as OpenClawPluginApi);
  assert(provider?.id === "metaclaw");

  const fire = (name: string, event: object, ctx: object = {}) => hooks.get(name)?.(event, ctx);
  const sender = (wrapWith: Wrap, agentId?: string) => {
    const sent: Sent[] = [];
    const send = wrapWith({
      ...(agentId === undefined ? {} : { agentId }),
      config,
      streamFn: (model, _context, options) => sent.push({ model, headers: options?.headers ?? {} }),
    });
    assert(send);
    return { sent, send };
  };
  const of = (agentId?: string) => sender(provider!.wrapStreamFn, agentId);
  const simple = () => sender(provider!.wrapSimpleCompletionStreamFn);
  const turn = async (agentId: string, runId: string, sessionId: string, trigger = "user") => {
    fire("before_model_resolve", {}, { runId, agentId, sessionId, sessionKey: keyOf(agentId, sessionId), trigger });
    const { sent, send } = of(agentId);
    await send({ baseUrl }, {}, { sessionId, requestId: `${runId}:model:1` });
    return sent[0]!.headers;
  };
  return { hooks, logged, fire, of, simple, turn, baseUrl };
}

const keyOf = (agentId: string, sessionId: string) => `agent:${agentId}:${sessionId}`;
const named = (agentId: string, sessionId: string, kind?: string) => ({
  "X-Agent-Id": agentId,
  "X-Session-Id": sessionId,
  "X-Session-Key": keyOf(agentId, sessionId),
  ...(kind ? { "X-Turn-Type": kind } : {}),
});

test("six interleaved runs of two agents each carry their own names", async () => {
  const { fire, of, baseUrl } = openclaw();
  const runs = ["research", "coder"].flatMap((agentId) => [1, 2, 3].map((n) => ({ agentId, id: `${agentId}-${n}` })));
  const lines = runs.map((run) => ({ ...run, ...of(run.agentId) }));
  for (const { agentId, id } of runs) {
    fire("before_model_resolve", {}, { runId: id, agentId, sessionKey: keyOf(agentId, id), trigger: "user" });
  }
  for (const call of [1, 2]) {
    await Promise.all(
      lines.map(({ id, send }) => send({ baseUrl }, {}, { sessionId: id, requestId: `${id}:model:${call}` })),
    );
  }
  for (const { agentId, id, sent } of lines) {
    assert.deepEqual(sent.map(({ headers }) => headers), [named(agentId, id, "main"), named(agentId, id, "main")]);
  }
});

test("what started the run decides whether its turn is a main one", async () => {
  const { turn } = openclaw();
  for (const [trigger, kind] of [
    ["user", "main"],
    ["manual", "main"],
    ["heartbeat", "side"],
    ["cron", "side"],
    ["memory", "side"],
    ["overflow", "side"],
  ] as const) {
    assert.equal((await turn("research", `by-${trigger}`, "s", trigger))["X-Turn-Type"], kind, trigger);
  }
  assert.equal((await turn("research", "by-nobody", "s", ""))["X-Turn-Type"], undefined);
});

test("two compactions of one agent at once are side calls of their own sessions", async () => {
  const { fire, of, baseUrl } = openclaw();
  const { sent, send } = of("research");
  const calls = ["s1", "s2"].map((session) => ({ session, callId: `run-${session}:compaction:x:model:1` }));
  const sending = calls.map(({ callId }) => send({ baseUrl }, {}, { requestId: callId }));
  for (const { session, callId } of calls.toReversed()) {
    fire("model_call_started", { callId, sessionId: session, sessionKey: keyOf("research", session) });
  }
  await Promise.all(sending);
  assert.deepEqual(
    sent.map(({ headers }) => headers),
    [named("research", "s1", "side"), named("research", "s2", "side")],
  );
});

test("a compaction in the middle of a user's run is a side call of its session", async () => {
  const { fire, of, turn, baseUrl } = openclaw();
  await turn("research", "long", "s");
  const { sent, send } = of("research");
  const sending = send({ baseUrl }, {}, { requestId: "long:model:2" });
  fire("model_call_started", { callId: "long:model:2", sessionId: "s", sessionKey: keyOf("research", "s") });
  await sending;
  assert.deepEqual(sent[0]!.headers, named("research", "s", "side"));
});

test("a call that OpenClaw never announced goes out without a session", async () => {
  const { of, simple, baseUrl } = openclaw();
  const research = of("research");
  await research.send({ baseUrl }, {}, { requestId: "unheard-of:model:1" });
  assert.deepEqual(research.sent[0]!.headers, { "X-Agent-Id": "research", "X-Turn-Type": "side" });

  await research.send({ baseUrl }, {}, { sessionId: "s" });
  assert.deepEqual(research.sent[1]!.headers, { "X-Agent-Id": "research", "X-Session-Id": "s" }, "not even a call id");

  const { sent, send } = simple();
  send({ baseUrl }, {}, { sessionId: "whose", requestId: "titles:model:1" });
  assert.deepEqual(sent[0]?.headers, { "X-Turn-Type": "side" }, "at once, and no session without its agent");
});

test("without conversation access a turn has names but no kind, and the log says why, once", async () => {
  const { fire, hooks, of, logged, baseUrl } = openclaw({ access: false });
  assert.deepEqual([...hooks.keys()].sort(), ["model_call_ended", "model_call_started", "session_end"]);
  const { sent, send } = of("research");
  const sending = send({ baseUrl }, {}, { sessionId: "s", requestId: "denied:model:1" });
  fire("model_call_started", { callId: "denied:model:1", sessionId: "s", sessionKey: keyOf("research", "s") });
  await sending;
  assert.deepEqual(sent[0]!.headers, named("research", "s"));
  assert.equal(logged.length, 1);
  assert.match(logged[0]!, /plugins\.entries\.metaclaw\.hooks\.allowConversationAccess/);
  assert.deepEqual(openclaw({ access: false }).logged, []);
});

test("fixed headers of the configuration keep everything but the names", async () => {
  const { of, fire, baseUrl } = openclaw();
  const { sent, send } = of("research");
  fire("model_call_started", { callId: "fixed:model:1", sessionId: "s" });
  const model = { baseUrl, headers: { "x-agent-id": "all", "X-TURN-TYPE": "main", "X-Other": "kept" } };
  await send(model, {}, { requestId: "fixed:model:1", headers: { "x-session-id": "fixed", traceparent: "kept" } });
  assert.deepEqual(sent, [
    {
      model: { baseUrl, headers: { "X-Other": "kept" } },
      headers: { traceparent: "kept", "X-Agent-Id": "research", "X-Session-Id": "s", "X-Turn-Type": "side" },
    },
  ]);
  assert.equal(model.headers["x-agent-id"], "all", "OpenClaw's own model is not changed");
});

test("nothing but the configured origin learns a name", async () => {
  for (const foreign of ["http://localhost:1/v1", "https://api.example.com/v1", "ftp://127.0.0.1", "not a url"]) {
    const { of } = openclaw({ baseUrl: "http://127.0.0.1:1/v1" });
    const { sent, send } = of("research");
    const model = { baseUrl: foreign, headers: { "X-Agent-Id": "the operator's own" } };
    send(model, {}, { sessionId: "s", requestId: "r:model:1" });
    assert.deepEqual(sent, [{ model, headers: {} }], foreign);
  }
});

test("values that cannot stand in a header are left out", async () => {
  const { turn } = openclaw();
  const headers = await turn("research", "r", "dürer\r\nX-Agent-Id: coder");
  assert.deepEqual(headers, { "X-Agent-Id": "research", "X-Turn-Type": "main" });
});

test("a session that is over is ended once, with its agent's key", async () => {
  for (const reason of ["new", "reset", "idle", "daily", "deleted", "unknown", undefined]) {
    ended = [];
    const { turn, fire, logged } = openclaw();
    await turn("coder", "r", `s-${reason}`);
    const event = { sessionId: `s-${reason}`, reason, nextSessionId: `s-${reason}` };
    await fire("session_end", event);
    await fire("session_end", event);
    assert.deepEqual(
      ended.map(({ method, url, headers }) => [method, url, headers["x-agent-id"], headers["x-session-id"]]),
      [["POST", "/v1/sessions/end", "coder", `s-${reason}`]],
    );
    assert.equal(ended[0]?.headers.authorization, "Bearer key-of-coder");
    assert.equal(ended[0]?.headers["content-length"], "0");
    assert(!logged.join().includes("key-of"), "no key is logged");
  }
});

test("a session that goes on, or that the host never heard of, is not ended", async () => {
  const { turn, fire, logged } = openclaw();
  await turn("coder", "r", "s");
  await fire("session_end", { sessionId: "s", reason: "shutdown" });
  await fire("session_end", { sessionId: "s", reason: "restart" });
  await fire("session_end", { sessionId: "s", reason: "compaction", nextSessionId: "s" });
  await fire("session_end", { sessionId: "elsewhere", reason: "reset" });
  assert.deepEqual([ended.length, logged], [0, []]);
  await fire("session_end", { sessionId: "s", reason: "compaction", nextSessionId: "its successor" });
  assert.equal(ended[0]?.headers["x-agent-id"], "coder");
});

test("a session's next turn does not overtake its end", async () => {
  const { turn, fire } = openclaw();
  await turn("coder", "r1", "s");
  const host = Promise.withResolvers<number>();
  answer = () => host.promise;
  const ending = fire("session_end", { sessionId: "s", reason: "reset", nextSessionId: "s" });
  let sent = false;
  const next = turn("coder", "r2", "s").then(() => (sent = true));
  await turn("coder", "r3", "another session");
  assert.equal(sent, false);
  host.resolve(204);
  await Promise.all([ending, next]);
});

test("a host that is away, refuses or redirects costs a warning", async () => {
  for (const [baseUrl, status, warning] of [
    [`${base}/v1`, 401, /session s of coder ended: HTTP 401/],
    [`${base}/v1`, 307, /session s of coder ended: \w+/],
    ["http://127.0.0.1:1/v1", 204, /session s of coder ended: \w+/],
  ] as const) {
    ended = [];
    answer = () => status;
    const { turn, fire, logged } = openclaw({ baseUrl });
    await turn("coder", "r", "s");
    await fire("session_end", { sessionId: "s", reason: "new" });
    assert.match(logged.join(), warning);
    assert(ended.every(({ url }) => url === "/v1/sessions/end"), "no redirect is followed");
  }
});

test("of many sessions that end at once, sixteen are ended by word", async () => {
  const { turn, fire, logged } = openclaw();
  const sessions = Array.from({ length: 20 }, (_, n) => `many-${n}`);
  for (const session of sessions) await turn("coder", `r-${session}`, session);
  await Promise.all(sessions.map((sessionId) => fire("session_end", { sessionId, reason: "deleted" })));
  assert.equal(ended.length, 16);
  assert.equal(logged.filter((line) => line.includes("too many")).length, 4);
});
