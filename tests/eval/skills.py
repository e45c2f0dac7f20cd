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
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
from lib import chart, data, proxy  # noqa: E402

AGENT = "tools"


def main():
    args = arguments()
    skills, tests, lessons = data.load(Path(args.data), args.questions, args.seed)
    say(f"{len(skills)} skills, {len(tests)} test questions, {sum(map(len, lessons.values()))} to learn from, mode {args.mode}")
    with proxy.Upstream() as upstream:
        started = lambda mode: proxy.Host(args.metaclaw, upstream, AGENT, skills, mode, args.models)  # noqa: E731
        with started(args.mode) as host, started("bm25") as words:
            result = {"mode": args.mode, "skills": len(skills), "questions": len(tests), "remarks": host.remarks}
            result["words"] = hits(words, tests)
            result["curve"] = [{"uses": 0, **hits(host, tests)}]
            result["added"] = added(host, words, tests)
            report(result["words"], "bm25")
            report(result["curve"][0], "cold")
            say(f"p50 of a turn: {result['added']['mode_ms']} ms, with bm25 {result['added']['bm25_ms']} ms")
            learn(host, skills, tests, lessons, args, result)
    for remark in result["remarks"]:
        say(f"note: {remark}")
    if args.svg:
        Path(args.svg).write_text(chart.draw(result), encoding="utf-8")
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
    parse.add_argument("--uses", default="1,2,3,5,10", type=lambda text: [int(n) for n in text.split(",") if n])
    parse.add_argument("--questions", default=600, type=int, help="how many test questions; 0 for all")
    parse.add_argument("--correct", action="store_true", help="feedback names the right skill even where it was not in the prompt")
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


def learn(host, skills, tests, lessons, args, result):
    """Asks one lesson of every skill a round, and says of a turn that had the right skill that it helped."""
    order = random.Random(args.seed)
    given = asked = 0
    for done in range(1, max(args.uses, default=0) + 1):
        round_of = [(lessons[skill][done - 1], skill) for skill in skills if len(lessons[skill]) >= done]
        order.shuffle(round_of)
        for question, skill in round_of:
            answer = host.ask(question)
            asked += 1
            if skill not in answer.skills and not args.correct:
                continue
            refused = host.helped(answer.turn, skill)
            if refused:
                result["remarks"].append(f"there is no learning curve: this host takes no feedback ({refused})")
                return
            given += 1
        if done in args.uses:
            host.settled()
            result["curve"].append({"uses": done, "feedback": given, "asked": asked, **hits(host, tests)})
            report(result["curve"][-1], f"{done} uses")


def report(point, what):
    say(f"{what:>8}: right skill in the prompt {point['hits']:.1%}, first in it {point['first']:.1%}, {point['mean_chosen']} skills in a prompt")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    started_at = time.monotonic()
    os.environ.pop("METACLAW_HOME", None)
    main()
    say(f"took {time.monotonic() - started_at:.0f} s")
