"""Uses everything that the helper has."""

from metaclaw import *
from metaclaw.grants import files, kv, log

DESCRIPTION = Description("every", "1.0.0", "Uses everything.", "skills:read")
kept = []


def route(turn, config):
    kept.append(turn)  # A handle that is kept too long does no harm.
    heard = [turn.agent, turn.session, turn.index, turn.kind, turn.mode, turn.body_size > 0, turn.received_at > 0, turn.requested_model]
    log(f"turn {heard} {turn.tool_names} {[m.role for m in turn.messages]} {turn.attr('none')}")
    count = int(kv.get("count") or b"0") + 1
    kv.set("count", str(count))
    kv.set("gone", "x")
    kv.delete("gone")
    log(f"kept {kv.keys()} {count}", "warn")
    if turn.user_text == "refuse":
        return Refuse("refused")
    if turn.user_text == "throw":
        raise KeyError("thrown")
    return To(turn.targets[0], "r" * 2000)


def select(turn, catalog, config):
    log(f"skills {[s.name for s in catalog]} {len(catalog)}")
    entry = files.stat("skills", "tides/notes.txt")
    log(f"files {[e.name for e in files.entries('skills', 'tides')]} {entry.size} {files.read('skills', 'tides/notes.txt').decode()}")
    try:
        files.read("skills", "nothing")
    except Problem as problem:
        log(f"problem {problem.code}")
    return [s.name for s in catalog.search(turn.user_text)]


def render(turn, catalog, skills, config):
    return "\n".join(f"laid out: {catalog.read(name)}" for name in skills)


def gate(turn, call, config):
    if call.name == "remove":
        return Deny(f"denied {call.arguments}")
    return Hold("held") if call.name == "send" else Allow()


def filter(sample, config):
    log(f"sample {sample.model} {sample.finish_reason} {sample.has_tokens} {sample.skills}")
    return Drop("dropped " + sample.user_text) if "drop" in sample.answer_text else Keep(0.5)


def reward(sample, config):
    return 1 if sample.tool_calls else -0.5
