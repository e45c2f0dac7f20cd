"""What a user of OpenAI's Python library meets at a MetaClaw host: `checks.py BASE_URL KEY`.

The words of the requests are cues for the scripted upstream in `tests/all/sdk.rs`. One line for each check; the exit code
is 1 if any failed.
"""

import asyncio
import json
import sys
import time
import traceback

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

BASE_URL, KEY = sys.argv[1:]
OPTIONS = {"base_url": BASE_URL, "api_key": KEY, "max_retries": 0, "timeout": 20}
MODEL = "any-model"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
CHECKS = []

client = OpenAI(**OPTIONS)
named = OpenAI(**OPTIONS, default_headers={"X-Agent-Id": "Writer"})


def check(function):
    CHECKS.append(function)
    return function


def user(text):
    return [{"role": "user", "content": text}]


def say(text, client=client, **more):
    return client.chat.completions.create(model=MODEL, messages=user(text), **more)


def equal(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def raises(kind, function):
    """What `function` raises, which must be exactly a `kind`: the subclass tells a program what to do."""
    try:
        got = function()
    except openai.OpenAIError as error:
        assert type(error) is kind, f"raised {error!r}, wanted {kind.__name__}"
        return error
    raise AssertionError(f"raised nothing and returned {got!r}, wanted {kind.__name__}")


def gone():
    return int(say("how many went away?").choices[0].message.content)


def until_gone(wanted):
    deadline = time.monotonic() + 10
    while gone() < wanted:
        assert time.monotonic() < deadline, "the upstream was not told that the client went away"


@check
def an_answer_in_one_piece():
    answer = say("hello", temperature=0.5, user="u1")
    equal(answer.choices[0].message.content, "echo: hello")
    equal((answer.choices[0].message.role, answer.choices[0].finish_reason), ("assistant", "stop"))
    equal((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (11, 3, 14))
    equal((answer.object, answer.model), ("chat.completion", "test-model"))
    assert answer._request_id, "no request id"


@check
def default_headers_name_the_agent_and_the_session():
    headers = {"X-Session-Id": "letter-1", "X-Turn-Type": "main"}
    raw = named.chat.completions.with_raw_response.create(model=MODEL, messages=user("hi"), extra_headers=headers)
    equal(raw.parse().choices[0].message.content, "echo: hi")
    equal(raw.headers["x-metaclaw-agent"], "writer")
    equal(raw.headers["x-metaclaw-session"], "letter-1")


@check
def chunks_arrive_one_by_one():
    stream = say("piece by piece", stream=True, stream_options={"include_usage": True})
    words, finish, usage = [], None, None
    for chunk in stream:
        equal(chunk.object, "chat.completion.chunk")
        if chunk.usage:
            equal(chunk.choices, [])
            usage = chunk.usage
            continue
        delta = chunk.choices[0].delta
        finish = finish or chunk.choices[0].finish_reason
        if delta.content:
            words.append(delta.content)
            # The upstream makes the next piece only now.
            equal(say("next piece").choices[0].message.content, "ok")
    equal((words, finish, usage.total_tokens), (["one ", "two ", "three"], "stop", 14))


@check
def the_stream_helper_puts_an_answer_together():
    with client.chat.completions.stream(model=MODEL, messages=user("a b c")) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta" and event.delta]
        answer = stream.get_final_completion()
    equal((deltas, answer.choices[0].message.content), (["echo: ", "a ", "b ", "c"], "echo: a b c"))


@check
def tools_are_called_and_answered():
    question = user("weather in Paris and Rome?")
    answer = client.chat.completions.create(model=MODEL, messages=question, tools=TOOLS)
    equal((answer.choices[0].finish_reason, answer.choices[0].message.content), ("tool_calls", None))
    calls = answer.choices[0].message.tool_calls
    equal([(c.id, c.type, c.function.name) for c in calls], [(f"call_{n}", "function", "weather") for n in (1, 2)])
    equal([json.loads(c.function.arguments) for c in calls], [{"city": "Paris"}, {"city": "Rome"}])
    results = [{"role": "tool", "tool_call_id": c.id, "content": f"{n} degrees"} for c, n in zip(calls, (21, 25))]
    messages = question + [answer.choices[0].message, *results]
    final = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    equal(final.choices[0].message.content, "echo: call_1 21 degrees, call_2 25 degrees")


@check
def streamed_tool_calls_come_in_pieces():
    stream = say("weather in Paris and Rome?", tools=TOOLS, stream=True)
    pieces = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or []]
    equal([(p.id, p.function.name) for p in pieces if p.id], [("call_1", "weather"), ("call_2", "weather")])
    equal([p.index for p in pieces], [0, 0, 0, 1, 1])
    for index, city in enumerate(["Paris", "Rome"]):
        arguments = "".join(p.function.arguments or "" for p in pieces if p.index == index)
        equal(json.loads(arguments), {"city": city})
    with client.chat.completions.stream(model=MODEL, messages=user("weather?"), tools=TOOLS) as helper:
        message = helper.get_final_completion().choices[0].message
    equal([c.function.arguments for c in message.tool_calls], ['{"city":"Paris"}', '{"city":"Rome"}'])


@check
def structured_output_is_parsed():
    class Place(BaseModel):
        city: str

    answer = client.chat.completions.parse(model=MODEL, messages=user("where?"), response_format=Place)
    equal(answer.choices[0].message.parsed, Place(city="Paris"))


@check
def a_bad_agent_id_is_a_bad_request():
    bad = client.with_options(default_headers={"X-Agent-Id": "../x"})
    for stream in (False, True):
        error = raises(openai.BadRequestError, lambda: say("hi", bad, stream=stream))
        equal((error.status_code, error.code, error.type), (400, "invalid_identity", "invalid_request_error"))
        assert "../x" in error.message and error.request_id, error.message


@check
def the_upstreams_complaints_keep_their_kind():
    for cue, kind, message in [
        ("status 400", openai.BadRequestError, "says 400"),
        ("status 404", openai.NotFoundError, "says 404"),
        ("status 422", openai.UnprocessableEntityError, "says 422"),
        ("status 429", openai.RateLimitError, "says 429"),
    ]:
        for stream in (False, True):
            error = raises(kind, lambda: say(cue, stream=stream))
            assert message in error.message, error.message


@check
def the_upstreams_refusal_of_the_hosts_key_is_not_the_clients_fault():
    for cue in ("status 401", "status 403"):
        error = raises(openai.BadRequestError, lambda: say(cue))
        equal((error.status_code, error.code), (400, "upstream_refused"))
        assert "says 40" not in error.message, "the upstream's words about the host's key are not for the client"


@check
def a_wrong_key_for_the_host_is_an_authentication_error():
    for key in ("wrong", KEY + "x"):
        error = raises(openai.AuthenticationError, lambda: say("hi", client.with_options(api_key=key)))
        equal((error.status_code, error.code), (401, "invalid_api_key"))


@check
def a_path_that_is_not_there_says_what_is():
    error = raises(openai.NotFoundError, lambda: client.responses.create(model=MODEL, input="hi"))
    assert "/v1/chat/completions" in error.message, error.message


@check
def the_library_tries_again_after_a_rate_limit():
    answer = say("busy once: python", client.with_options(max_retries=2))
    equal(answer.choices[0].message.content, "echo: busy once: python")


@check
def a_stream_that_breaks_off_is_an_error_and_no_short_answer():
    stream = say("break off", stream=True)
    equal(next(stream).choices[0].delta.content, "so far")
    equal(raises(openai.APIError, lambda: list(stream)).code, "upstream_broken")


@check
def closing_a_stream_stops_the_upstream():
    before = gone()
    stream = say("talk for ever", stream=True)
    equal(next(stream).choices[0].delta.content, "so far")
    equal(gone(), before)
    stream.close()
    until_gone(before + 1)


@check
def models_are_listed():
    equal([(m.id, m.object) for m in client.models.list()], [("test-model", "model")])


@check
def a_policys_refusal_is_an_ordinary_answer():
    refusing = client.with_options(default_headers={"X-Agent-Id": "assistant"})
    answer = say("read me my horoscope", refusing)
    words = answer.choices[0].message.content
    assert "horoscope" in words and "echo" not in words, words
    equal((answer.choices[0].finish_reason, answer.usage.total_tokens), ("stop", 0))
    stream = say("read me my horoscope", refusing, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    equal("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), words)
    equal(chunks[-2].choices[0].finish_reason, "stop")
    equal(chunks[-1].usage.total_tokens, 0)


@check
def five_megabytes_pass_whole():
    text = "0123456789abcdé " * (5 * 1024 * 1024 // 17)
    assert len(text.encode()) > 5_000_000
    equal(say(text).choices[0].message.content == "echo: " + text, True)


@check
def the_async_client_is_served_too():
    async def run():
        async with AsyncOpenAI(**OPTIONS) as client:
            create = client.chat.completions.create
            answers = await asyncio.gather(*(create(model=MODEL, messages=user(f"hello {n}")) for n in range(50)))
            equal([a.choices[0].message.content for a in answers], [f"echo: hello {n}" for n in range(50)])

            async def streamed(n):
                stream = await create(model=MODEL, messages=user(f"a b {n}"), stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            equal(await asyncio.gather(*map(streamed, range(20))), [f"echo: a b {n}" for n in range(20)])

            before = await asyncio.to_thread(gone)
            stream = await create(model=MODEL, messages=user("talk for ever"), stream=True)
            await anext(stream)
            task = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.close()
            await asyncio.to_thread(until_gone, before + 1)

    asyncio.run(run())


failed = 0
print(f"openai {openai.__version__}, Python {sys.version.split()[0]}")
for function in CHECKS:
    name = function.__name__.replace("_", " ")
    began = time.monotonic()
    try:
        function()
    except Exception:
        failed += 1
        print(f"FAILED  {name}\n{traceback.format_exc()}")
    else:
        print(f"ok      {name} ({time.monotonic() - began:.2f} s)")
sys.exit(1 if failed else 0)
