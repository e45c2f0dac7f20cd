#!/usr/bin/env python3
"""How often the right skill reaches the prompt, through the real proxy: cold, and after each skill was of use.

    tests/eval/skills.py [DATA] [--svg FILE] [--json]      (or: make eval-skills DATA=… SVG=…)

DATA is a folder with `plugin_des.json` (tool name to description) and `questions.csv.gz` (tests/eval/tool-e, the default) or
`data/all_clean_data.csv` (MetaTool's own `dataset` folder). Every tool becomes a skill of one agent. A scripted upstream in this
process reads which skills are in the prompt that reaches it. A question is asked in a session of its own, over connections that are
kept. What teaches is never asked again as a test. Needs nothing but Python's standard library.
"""

import argparse
import json
import os
import random
import re
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
from lib import chart, data, proxy  # noqa: E402

AGENT = "tools"
# Who says that a skill helped: one who saw it in the prompt, or one who knows what would have been right.
FEEDBACK = {"named": "the right skill named after every lesson", "seen": "named only where it was in the prompt"}


def main():
    args = arguments()
    skills, tests, lessons = data.load(Path(args.data), args.questions, args.seed)
    say(f"{len(skills)} skills, {len(tests)} test questions, {sum(map(len, lessons.values()))} lessons, mode {args.mode}")
    result = {"mode": args.mode, "embedder": args.embedder, "skills": len(skills), "questions": len(tests), "curves": {}, "remarks": []}
    with proxy.Upstream() as upstream:
        started = lambda mode: proxy.Host(args, upstream, AGENT, skills, mode)  # noqa: E731
        with started(args.mode) as host, started("bm25") as words:
            result["words"] = report("bm25", hits(words, tests))
            cold = {"uses": 0, **report("cold", hits(host, tests))}
            result["added"] = added(host, words, tests)
            result["late"] = late(host)
            say(f"questions that went by words alone, for their meaning came too late: {result['late']:.1%}")
            say("p50 of a turn: {mode_ms} ms, with bm25 {bm25_ms} ms, added {added_ms} ms".format(**result["added"]))
            note(result, host)
        for kind in FEEDBACK:
            with started(args.mode) as host:
                result["curves"][kind] = [cold]
                say(f"{FEEDBACK[kind]}:")
                learn(host, kind, skills, tests, lessons, args, result["curves"][kind])
                note(result, host)
    if args.svg:
        Path(args.svg).write_text(chart.draw(result, FEEDBACK), encoding="utf-8")
        say(f"learning curve: {args.svg}")
    if args.json:
        print(json.dumps(result, indent=1))


def arguments():
    here = Path(__file__).parent
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("data", nargs="?", default=here / "tool-e")
    parse.add_argument("--metaclaw", default=here.parents[1] / "target/release/metaclaw", help="the command to measure")
    parse.add_argument("--models", default=here.parents[1] / "target/models", help="where `metaclaw models fetch` has put them")
    parse.add_argument("--mode", default="hybrid", help="skills.retrieval_mode to measure")
    parse.add_argument("--embedder", help="skills.embedder to measure: minilm or static")
    parse.add_argument("--uses", default="1,2,3,5,10", type=lambda text: [int(n) for n in text.split(",") if n])
    parse.add_argument("--questions", default=1500, type=int, help="how many test questions; 0 for all")
    parse.add_argument("--seed", default=1, type=int)
    parse.add_argument("--svg", help="file for the learning curve")
    parse.add_argument("--json", action="store_true", help="the numbers, to standard output")
    return parse.parse_args()


def hits(host, tests):
    """The share of questions whose skill was in the prompt, and how many skills a prompt had."""
    right = first = chosen = 0
    for question, skill in tests:
        found = host.ask(question).skills
        chosen += len(found)
        right += skill in found
        first += found[:1] == [skill]
    asked = len(tests)
    return {"hits": round(right / asked, 4), "first": round(first / asked, 4), "mean_chosen": round(chosen / asked, 2)}


def added(host, words, tests, turns=200):
    """The p50 of a turn on each host, in milliseconds: one question after the other, in turns, so that both see the same machine."""
    took = {host: [], words: []}
    for question, _ in random.Random(7).sample(tests, min(turns, len(tests))):
        for each in took:
            took[each].append(each.ask(question).seconds)
    p50 = {each: 1000 * statistics.median(times) for each, times in took.items()}
    return {"mode_ms": round(p50[host], 3), "bm25_ms": round(p50[words], 3), "added_ms": round(p50[host] - p50[words], 3)}


def late(host):
    """The share of questions whose meaning was not there in time."""
    counts = dict(re.findall(r'metaclaw_questions_embedded_total\{outcome="(\w+)"\} (\d+)', host.metrics()))
    return 1 - int(counts.get("in_time", 0)) / max(1, sum(map(int, counts.values()))) if counts else 0.0


def learn(host, kind, skills, tests, lessons, args, curve):
    """Asks one lesson of every skill a round, and says that the right skill helped."""
    order = random.Random(args.seed)
    given = 0
    for done in range(1, max(args.uses, default=0) + 1):
        lesson_of = [(lessons[skill][done - 1], skill) for skill in skills if len(lessons[skill]) >= done]
        order.shuffle(lesson_of)
        for question, skill in lesson_of:
            answer = host.ask(question)
            if kind == "seen" and skill not in answer.skills:
                continue
            refused = host.helped(answer.turn, skill)
            if refused and given == 0:
                host.remarks.append(f"there is no learning curve: this host takes no such feedback ({refused})")
                return
            if refused:
                # One that is lost would make the curve a little flatter than it is: that is no measurement.
                raise SystemExit(f"after {given} pieces of feedback one was refused: {refused}")
            given += 1
        if done in args.uses:
            host.settled()
            curve.append({"uses": done, "feedback": given, **report(f"{done} uses", hits(host, tests))})


def report(what, found):
    say(f"{what:>8}: right skill in the prompt {found['hits']:.1%}, first in it {found['first']:.1%}, {found['mean_chosen']} skills in a prompt")
    return found


def note(result, host):
    for remark in host.remarks:
        if remark not in result["remarks"]:
            result["remarks"].append(remark)
            say(f"note: {remark}")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    began = time.monotonic()
    os.environ.pop("METACLAW_HOME", None)
    main()
    say(f"took {time.monotonic() - began:.0f} s")
