#!/usr/bin/env python3
"""Whether two agents of one host, trained at once from their live traffic, each learn what they alone are rewarded for.

    tests/eval/rl.py [--seeds 3] [--steps N] [--svg FILE] [--json FILE]      (or: make eval-rl)

`numbers` is rewarded for words that begin with a digit, `capitals` for words that begin with a capital: shares of the same words, so
that neither can be high beside the other. `plain` is answered by the base model. Clients ask through the proxy, compute the reward and send it to
`POST /v1/feedback`; the host scores, batches, trains, judges and swaps adapters by itself. Held-out prompts, which are never trained on,
are asked of all three agents before, on the way and at the end, and every answer is held against both rewards. Exit 1 unless, for every
seed, each trained agent's own reward rises by MARGIN, no other curve rises by STILL, and `plain` gives the very same answers as before.
Needs nothing but Python's standard library. See README.md.
"""

import argparse
import json
import os
import random
import re
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
from lib import curves, running  # noqa: E402

# Stated before the first run through the proxy: see README.md.
MARGIN, STILL = 0.15, 0.05
AGENTS = ["numbers", "capitals", "plain"]
TRAINED = AGENTS[:2]
TRAINING = [
    "How many days are in a week?", "How old can a tortoise get?", "How tall is a giraffe?", "How many legs does a spider have?",
    "When was the telephone invented?", "How long is a marathon?", "How far away is the moon?", "How many people live in Paris?",
]
HELD_OUT = [
    "How many months are in a year?", "How fast is a horse?", "How heavy is an elephant?", "When did people first fly?",
    "How deep is the sea?", "How many strings has a violin?", "How old is the Earth?", "When was the printing press invented?",
]
# How long the host may take to train once it has a batch.
PATIENCE = 300
# How many answers are asked for at once.
AT_ONCE = 4


def words(text, wanted):
    """The share of words that begin so, whatever stands before their first letter or digit."""
    first = [re.sub(r"^[\W_]+", "", word)[:1] for word in text.split()]
    return sum(map(wanted, first)) / len(first) if first else 0.0


REWARDS = {"numbers": lambda text: words(text, str.isdigit), "capitals": lambda text: words(text, str.isupper)}


def main():
    args = arguments()
    runs = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        with running.Running(args.metaclaw, configuration(args, seed), models=args.models, keep=args.keep and f"{args.keep}/{seed}") as host:
            runs.append(Run(args, host, seed).run())
        print(table(runs[-1]), flush=True)
    result = {"margin": MARGIN, "still": STILL, "rounds": args.rounds, "batch": args.batch, "learning_rate": args.learning_rate, "runs": runs}
    result["passed"] = all(run["passed"] for run in runs)
    print(f"own reward + {MARGIN} at least, every other curve + {STILL} at most, {len(runs)} seeds: {'kept' if result['passed'] else 'BROKEN'}")
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.svg:
        Path(args.svg).write_text(curves.draw(result, AGENTS, list(REWARDS)), encoding="utf-8")
    return 0 if result["passed"] else 1


def arguments():
    here = Path(__file__).parent
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--seeds", default=3, type=int, help="how many runs, each on a new home")
    parse.add_argument("--first-seed", default=1, type=int)
    parse.add_argument("--rounds", default=10, type=int, help="batches of traffic of each agent")
    parse.add_argument("--batch", default=32, type=int, help="samples to a training step")
    parse.add_argument("--group", default=8, type=int, help="answers to one prompt in a batch")
    parse.add_argument("--max-tokens", default=24, type=int)
    parse.add_argument("--learning-rate", default=1e-3, type=float)
    parse.add_argument("--evaluate-every", default=4, type=int, help="rounds between two looks at the held-out prompts")
    parse.add_argument("--samples", default=3, type=int, help="answers to each held-out prompt")
    parse.add_argument("--keep", help="folder to keep the hosts' homes in")
    parse.add_argument("--metaclaw", default=here.parents[1] / "target/release/metaclaw", help="the command to measure")
    parse.add_argument("--models", default=here.parents[1] / "target/models", help="where `metaclaw models fetch` has put them")
    parse.add_argument("--svg", help="file for the curves")
    parse.add_argument("--json", help="file for the numbers")
    return parse.parse_args()


def configuration(args, seed):
    return {
        "llm": {"provider": "embedded"},
        "skills": {"enabled": False},
        # The host keeps no prompt out of training, since the held-out ones are here. Nor does its gate compare answers: it does that without
        # the stop texts that these clients send, and of a model that never ends without them some more "endless" answers mean nothing.
        "rl": {"batch_size": args.batch, "learning_rate": args.learning_rate, "seed": seed, "gate": {"held_out": 0, "prompts": 0}},
        "agents": {name: {"mode": "rl" if name in TRAINED else "skills_only"} for name in AGENTS},
    }


class Run:
    def __init__(self, args, host, seed):
        self.args, self.host, self.seed = args, host, seed
        self.asked, self.lock, self.began = 0, threading.Lock(), time.monotonic()
        self.points, self.rounds = [], {agent: [] for agent in TRAINED}
        # The embedded model answers several at a time faster than one after the other.
        self.pool = ThreadPoolExecutor(2 * AT_ONCE)

    def run(self):
        self.evaluate(0)
        for number in range(1, self.args.rounds + 1):
            with ThreadPoolExecutor(len(TRAINED)) as pool:
                list(pool.map(lambda agent: self.round(agent, number), TRAINED))
            if number % self.args.evaluate_every == 0 or number == self.args.rounds:
                self.evaluate(number)
        return self.result()

    def round(self, agent, number):
        """A batch of live traffic, each answer rewarded by who asked for it; then the host trains, if it likes."""
        order = random.Random(f"{self.seed} {agent} {number}")
        rewards = []
        for prompt in order.sample(TRAINING, self.args.batch // self.args.group):
            whole = []
            # What is cut off is no sample. A model that never ends an answer would be asked for ever.
            for _ in range(4):
                asking = [self.pool.submit(self.ask, agent, prompt, order.getrandbits(31)) for _ in range(self.args.group - len(whole))]
                whole += [answer for answer in (asked.result() for asked in asking) if answer.finish == "stop"]
            rewards += [REWARDS[agent](answer.text) for answer in whole]
            for answer in whole:
                self.feedback(agent, answer.turn, REWARDS[agent](answer.text))
        self.settled(agent)
        generation = self.lane(agent)["generation"]
        self.rounds[agent].append({"reward": round(statistics.mean(rewards or [0]), 4), "generation": generation})
        say(f"{time.monotonic() - self.began:6.0f} s  seed {self.seed}  {agent:<9} round {number:>2}  reward {statistics.mean(rewards or [0]):.3f}  generation {generation}")

    def ask(self, agent, prompt, seed, kind="main"):
        with self.lock:
            self.asked += 1
            session = f"eval-{self.asked}"
        # An answer is a sentence.
        more = {"max_tokens": self.args.max_tokens, "stop": [".", "\n"], "temperature": 1, "seed": seed}
        return self.host.chat(agent, session, [{"role": "user", "content": prompt}], kind=kind, **more)

    def feedback(self, agent, turn, reward):
        body = json.dumps({"turn": turn, "reward": round(reward, 4)})

        def given():
            status, _, text = self.host.request("POST", "/v1/feedback", body, {"x-agent-id": agent})
            if status not in (200, 202, 204, 404):
                raise SystemExit(f"feedback was answered with {status}: {text[:300]!r}")
            # A turn can be spoken of when it is durable.
            return status != 404

        running.until(f"the host takes feedback on {turn}", given)

    def lane(self, agent):
        status, training = self.host.admin("GET", "/admin/training")
        if status != 200:
            raise SystemExit(f"the host says nothing of training: {status} {training}")
        return next((lane for lane in training["agents"] if lane["agent"] == agent), None) or {}

    def settled(self, agent):
        """Until everything that was rewarded is trained on, or too little for a batch: answers that are all alike teach nothing."""

        def quiet():
            lane = self.lane(agent)
            samples = lane.get("samples", {})
            on_its_way = sum(samples.get(state, 0) for state in ("captured", "scored", "claimed"))
            return lane and not lane["progress"] and not on_its_way and samples.get("eligible", 0) < self.args.batch

        running.until(f"{agent} has trained", quiet, PATIENCE)

    def evaluate(self, number):
        """Both rewards of every agent on prompts that nobody is trained on, drawn as for clients, with the same seeds each time."""
        point = {"round": number, "rewards": {}, "errors": {}, "adapters": {}, "answers": {}}
        for agent in AGENTS:
            order = random.Random(self.seed)
            asking = [(agent, prompt, order.getrandbits(31), "side") for prompt in HELD_OUT for _ in range(self.args.samples)]
            answers = list(self.pool.map(lambda asked: self.ask(*asked), asking))
            scores = {reward: [of(answer.text) for answer in answers] for reward, of in REWARDS.items()}
            point["rewards"][agent] = {reward: round(statistics.mean(each), 4) for reward, each in scores.items()}
            point["errors"][agent] = {reward: round(statistics.stdev(each) / len(each) ** 0.5, 4) for reward, each in scores.items()}
            point["adapters"][agent] = answers[-1].adapter
            point["answers"][agent] = [answer.text for answer in answers]
        self.points.append(point)
        say(f"{time.monotonic() - self.began:6.0f} s  seed {self.seed}  held out after {number}: {point['rewards']} {point['adapters']}")

    def result(self):
        first, last = self.points[0], self.points[-1]
        rise = {agent: {reward: round(last["rewards"][agent][reward] - first["rewards"][agent][reward], 4) for reward in REWARDS} for agent in AGENTS}
        own = all(rise[agent][agent] >= MARGIN for agent in TRAINED)
        still = all(rise[agent][reward] < STILL for agent in AGENTS for reward in REWARDS if agent != reward)
        same = first["answers"]["plain"] == last["answers"]["plain"]
        served = all(last["adapters"][agent].startswith(f"{agent}@") for agent in TRAINED) and not last["adapters"]["plain"]
        # What was said is kept of the first and the last look only.
        for point in self.points[1:-1]:
            del point["answers"]
        return {
            "seed": self.seed, "points": self.points, "rounds": self.rounds, "rise": rise, "plain_unchanged": same, "served": served,
            "seconds": round(time.monotonic() - self.began), "passed": own and still and same and served,
        }


def table(run):
    first, last = run["points"][0], run["points"][-1]
    lines = [f"seed {run['seed']}, {run['seconds']} s   held-out reward before and after, of"]
    lines.append(f"{'':<12}" + "".join(f"{reward:>28}" for reward in REWARDS) + "   answered by")
    for agent in AGENTS:
        cells = [f"{first['rewards'][agent][r]:.3f} → {last['rewards'][agent][r]:.3f} ({run['rise'][agent][r]:+.3f})" for r in REWARDS]
        lines.append(f"{agent:<12}" + "".join(f"{cell:>28}" for cell in cells) + f"   {last['adapters'][agent] or 'the base model'}")
    lines.append(f"`plain` gives the same answers: {run['plain_unchanged']}; {'kept' if run['passed'] else 'BROKEN'}")
    return "\n".join(lines)


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.pop("METACLAW_HOME", None)
    sys.exit(main())
