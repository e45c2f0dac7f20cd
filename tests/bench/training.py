#!/usr/bin/env python3
"""What a training step costs whoever is answered meanwhile: the p50 of short answers of the embedded model, idle and during steps, in
one run and by turns.

    tests/bench/training.py [--rounds N] [--json FILE]      (or: make bench-training)

One agent's turns are rewarded and trained on; another one asks for answers of a fixed number of tokens. Only answers count that began
and ended in the same state. Wanted: during a step at most 1.5 times idle. Needs nothing but Python's standard library.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/eval"))
from lib import running  # noqa: E402

BOUND = 1.5
WORDS = "The harbour was quiet that morning, and the boats lay side by side along the old stone wall. "


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--rounds", default=3, type=int, help="steps, each after an idle spell")
    parse.add_argument("--asks", default=20, type=int, help="answers in an idle spell")
    parse.add_argument("--batch", default=16, type=int, help="samples to a step")
    parse.add_argument("--tokens", default=16, type=int, help="tokens of each timed answer")
    parse.add_argument("--metaclaw", default=ROOT / "target/release/metaclaw")
    parse.add_argument("--models", default=ROOT / "target/models")
    parse.add_argument("--json", help="file for the numbers")
    args = parse.parse_args()
    config = {
        "llm": {"provider": "embedded"},
        "skills": {"enabled": False},
        "rl": {"batch_size": args.batch, "manual_train_trigger": True, "gate": {"held_out": 0}},
        "agents": {"learner": {"mode": "rl"}, "client": {"mode": "skills_only"}},
    }
    with running.Running(args.metaclaw, config, models=args.models) as host:
        result = measured(args, host)
    print(json.dumps(result, indent=1))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if result["step"]["ratio"] <= BOUND else 1


def measured(args, host):
    took, steps = {"idle": [], "step": [], "forward-backward": []}, []
    for number in range(args.rounds):
        for place in range(args.batch):
            learn(host, number, place)
        running.until("the samples are eligible", lambda: lane(host)["samples"].get("eligible", 0) >= args.batch)
        ask(host, args)
        for _ in range(args.asks):
            took["idle"].append(ask(host, args))
        status, said = host.admin("POST", "/admin/agents/learner/training/step")
        if status != 200:
            raise SystemExit(f"no step: {status} {said}")
        before = None
        done = lane(host)["steps"]
        began = time.monotonic()
        while True:
            progress = lane(host)["progress"]
            phase = progress["phase"] if progress else None
            if before and phase:
                took["step"].append(seconds)
                took["forward-backward"] += [seconds] if before == phase == "forward-backward" else []
            if not phase and (before or lane(host)["steps"] > done or time.monotonic() - began > 60):
                break
            before, seconds = phase, ask(host, args)
        steps.append(lane(host)["last"])
    p50 = {state: statistics.median(times) if times else float("nan") for state, times in took.items()}
    of = lambda state: {"answers": len(took[state]), "p50_ms": round(1000 * p50[state], 1), "ratio": round(p50[state] / p50["idle"], 3)}  # noqa: E731
    return {state: of(state) for state in took} | {"bound": BOUND, "tokens": args.tokens, "steps": steps, "cores": os.cpu_count()}


def learn(host, number, place):
    """A turn with a reward that differs from the others of its prompt."""
    # Long enough that a step lasts for many answers.
    prompt = f"{WORDS * 4} Continue this story, part {number}-{place // 4}."
    for attempt in range(50):
        more = {"max_tokens": 48, "stop": [".", "\n"], "temperature": 1, "seed": 1000 * number + 50 * place + attempt}
        answer = host.chat("learner", f"s{number}-{place}-{attempt}", [{"role": "user", "content": prompt}], **more)
        if answer.finish == "stop" and answer.text.strip():
            break
    body = json.dumps({"turn": answer.turn, "reward": (place % 4) / 4})
    running.until("feedback is taken", lambda: host.request("POST", "/v1/feedback", body, {"x-agent-id": "learner"})[0] < 300)


def ask(host, args):
    """The seconds of an answer of so many tokens: nothing of it is known from an answer before."""
    host.asked = getattr(host, "asked", 0) + 1
    messages = [{"role": "user", "content": f"{host.asked}: tell me about the sea."}]
    answer = host.chat("client", f"c{host.asked}", messages, kind="side", max_tokens=args.tokens, temperature=0)
    if answer.usage["completion_tokens"] != args.tokens:
        return ask(host, args)
    return answer.seconds


def lane(host):
    status, training = host.admin("GET", "/admin/training")
    if status != 200:
        raise SystemExit(f"the host says nothing of training: {status} {training}")
    return next(each for each in training["agents"] if each["agent"] == "learner")


if __name__ == "__main__":
    os.environ.pop("METACLAW_HOME", None)
    sys.exit(main())
