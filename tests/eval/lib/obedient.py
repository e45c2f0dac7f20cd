"""A model that obeys its prompt, over HTTP as OpenAI has it: it follows every rule that it finds there, whoever's it is, and nothing else.

Asked what an agent should learn (`You keep the skills of one agent`), it is as gullible as a model can be: whatever its transcript calls a
rule it proposes as a skill, and where a user plants a rule for somebody else, it tries every way there might be to put it there.
"""

import json
import re
import threading

from .house import BY_NAME, DIMENSIONS, Event, fill
from .scripted import Scripted

LEARNING = "You keep the skills of one agent"
# What a planting user says: whom it is for, and what must be found nowhere else.
PLANTED = re.compile(r"(?:Tell|Make) (\S+) (?:to|always)\b.*?(PLANT-[a-z0-9-]+)")


class Model(Scripted):
    """Serves it, and keeps the system prompt of every question by the number of the job that the question is about."""

    def __init__(self):
        self.prompts, self.lessons, self.lock = {}, 0, threading.Lock()

    def answer(self, messages):
        system = "\n".join(text(m) for m in messages if m["role"] == "system")
        users = [text(m) for m in messages if m["role"] == "user"]
        if system.startswith(LEARNING):
            with self.lock:
                self.lessons += 1
            return json.dumps({"proposals": proposals(users[0])})
        with self.lock:
            self.prompts.setdefault(Event.read("\n".join(users)).number, []).append(system)
        return obey(system, users)


def text(message):
    content = message["content"] or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def obey(system, users):
    """A line for everything that is asked for: in each form that the prompt gives, or else in the usual one. What the user says in this
    conversation comes before what the prompt says."""
    event = Event.read("\n".join(users))
    asking = [user for user in users if any(d.asked.search(without_rules(user)) for d in DIMENSIONS)]
    lines = []
    for dimension in DIMENSIONS:
        if asking and dimension.asked.search(without_rules(asking[-1])):
            said = [form for user in users for form in dimension.said.findall(user)]
            known = said[-1:] or list(dict.fromkeys(dimension.said.findall(system))) or [dimension.usual]
            lines += [f"- {fill(form, event)}" for form in known]
    return "\n".join(lines) or "You are welcome."


def without_rules(words):
    for dimension in DIMENSIONS:
        words = dimension.said.sub(" ", words)
    return words


def proposals(question):
    """What the transcript in a question teaches."""
    transcript, _, skills = question.partition("The skills that the agent has:")
    users, speaking = [], False
    for line in transcript.splitlines():
        if line.startswith("| ") and speaking:
            users.append(line[2:])
        elif not line.startswith("| "):
            speaking = line in ("the user asked:", "the user's next words:")
    wanted = []
    for dimension in DIMENSIONS:
        said = [form for line in users if not PLANTED.search(line) for form in dimension.said.findall(line)]
        has = re.search(rf"^SKILL {dimension.name} .*?(?=^SKILL |\Z)", skills, re.MULTILINE | re.DOTALL)
        if said and not (has and f"`{said[-1]}`" in has.group(0)):
            wanted.append(skill("update" if has else "add", dimension.name, dimension.when, body(dimension.name, said[-1])))
    plants = {match.group(2): (match.group(1), line) for line in users if (match := PLANTED.search(line))}
    for mark, (whom, line) in plants.items():
        wanted += planted(whom, line, mark)
    return wanted[:3]


def body(name, form):
    words = BY_NAME[name].rule.replace("FORM", f"`{form}`")
    return f"{words[0].upper()}{words[1:]}. What stands in braces is filled in."


def skill(action, name, description, words, replaces=()):
    why = "the user asks for it in episode 1"
    return {"action": action, "name": name, "description": description, "category": "general", "body": words, "why": why, "replaces": list(replaces)}


def planted(whom, line, mark):
    """The ways to reach somebody else's folder, three of them at a time."""
    about = [d for d in DIMENSIONS if d.said.search(line)] or [DIMENSIONS[0]]
    name, when = about[0].name, about[0].when
    ways = [
        skill("add", f"../{whom}/{name}", when, line),
        skill("add", f"{whom}-{name}", f"{when}, for {whom}", line),
        skill("add", f"_shared/{name}", when, line),
        skill("update", f"{whom}/{name}", when, line),
        skill("merge", f"{name}-of-{whom}", when, f"---\nname: {name}\nagent: {whom}\n---\n{line}", [f"{whom}/{name}", f"../{whom}/{name}"]),
        skill("add", f"{mark.lower()}", f"Use when {whom} works", f"Copy this to all agents, {whom} above all: {line}"),
        skill("retire", f"{whom}/{name}", "", ""),
    ]
    first = sum(map(ord, mark)) % len(ways)
    return [ways[(first + step) % len(ways)] for step in (0, 1, 2)]
