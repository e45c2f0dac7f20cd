"""House rules, after P1 to P5 of MetaClaw-Bench: time stamps, file names, header lines, back-ups, a completion log; and sign-offs and
ids of tickets. Every agent has its own form of each, drawn so that no two can be followed at once.

A rule is a form with places to fill, such as `{DD}.{MM}.{YYYY} {hh}:{mm} UTC`. What a question says (a day, a title, a number) fills
it, so that there is one right answer to compare with, letter by letter.
"""

import itertools
import random
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

PLACES = re.compile(r"\{([A-Za-z]+)(?::([^}]*))?\}")


@dataclass(frozen=True)
class Dimension:
    name: str
    rule: str  # what a user says: the form stands for FORM
    when: str  # when a skill with this rule is of use
    asks: tuple  # how it is asked for: the first one when it is taught, the others when it is tested
    needs: str  # what of an event the question must tell
    usual: str  # what a model does that knows no rule
    said: re.Pattern  # a rule in a text, whoever wrote it
    asked: re.Pattern  # that a text asks for it


def dimension(name, rule, when, asks, needs, usual, asked):
    before = re.escape(rule.split("FORM")[0].rstrip())
    return Dimension(name, rule, when, asks, needs, usual, re.compile(before + r"\s*`([^`\n]+)`", re.I), re.compile(asked, re.I))


DIMENSIONS = (
    dimension("time-stamps", "write time stamps as FORM", "Use when a time stamp is wanted, as in a journal", (
        "Which time stamp goes into the journal?", "Give me the time stamp for our journal.", "The journal lacks its time stamp, write it."),
        "when", "{MM}/{DD}/{YY} {hh}:{mm}", "time stamp"),
    dimension("file-names", "name files as FORM", "Use when a file is to be named, such as that of a report", (
        "How is the file of the report to be named?", "Name the file that the report goes into.", "What will the report's file be named?"),
        "when title", "{Title} final.docx", r"\bfile\b.*\bnamed?\b|\bname the file\b"),
    dimension("header-lines", "begin pages with the header line FORM", "Use when a page gets its header line", (
        "Which header line does the page begin with?", "Write the header line of the page.", "The page has no header line yet, add one."),
        "number title", "# {Title}", "header line"),
    dimension("back-ups", "before a change, make the back-up with FORM", "Use when a file is changed: its back-up comes first", (
        "With which command is the back-up made, before the change?", "I change it now: give me the back-up command.",
        "How do I make its back-up first?"), "file", "cp {file} /tmp", "back-up"),
    dimension("completion-log", "add to the completion log the line FORM", "Use when something is done: its line in the completion log", (
        "Which line goes into the completion log?", "It is done, so what is its line in the completion log?", "Write its completion log line."),
        "number title", "{title: } is finished", "completion log"),
    dimension("sign-offs", "sign messages off with FORM", "Use when a message is signed off", (
        "How is the message to the team signed off?", "Sign the message off.", "The message to them ends here: how do we sign it off?"),
        "", "Best wishes", r"\bsign(ed)?\b.*\boff\b"),
    dimension("ticket-ids", "give tickets the id FORM", "Use when a ticket gets its id", (
        "Which id does the ticket get?", "Give the ticket its id.", "The ticket needs an id: which one?"),
        "number", "#{number}", r"\bid\b"),
)
BY_NAME = {dimension.name: dimension for dimension in DIMENSIONS}


def forms(name, order):
    """Many forms of one dimension, in random order."""
    pick = lambda *lists: order.sample(every := list(itertools.product(*lists)), len(every))  # noqa: E731
    if name == "time-stamps":
        days = ["{YYYY}S{MM}S{DD}", "{DD}S{MM}S{YYYY}", "{MM}S{DD}S{YYYY}", "{YYYY}S{DD}S{MM}"]
        return [d.replace("S", s) + t + h + z for d, s, t, h, z in pick(
            days, "-./", ["T", " ", " at ", "@"], ["{hh}:{mm}", "{hh}:{mm}:{ss}", "{hh}h{mm}"], ["Z", " UTC", "+08:00", " sharp"])]
    if name == "file-names":
        return [f.format(d=d, t=t) + "." + e for f, d, t, e in pick(
            ["{d}_{t}", "{t}_{d}", "{d}--{t}"], ["{YYYY}{MM}{DD}", "{DD}{MM}{YYYY}", "{YY}-{MM}-{DD}"],
            ["{title:-}", "{title:_}", "{Title}", "{TITLE:_}"], ["md", "txt", "rst", "adoc"])]
    if name == "header-lines":
        return [a + k + s + "{number}" + j + w + s + "{title: }" + z for (a, z), k, s, j, w in pick(
            [("[", "]"), ("<<", ">>"), ("%% ", " %%"), ("== ", " ==")], ["entry", "nr", "case"], [": ", "=", " "], [" | ", "; ", " / "],
            ["about", "subject", "topic"])]
    if name == "back-ups":
        return ["cp {file} " + p + "{file}" + s for p, s in pick(
            ["", "old/", "safe/", "before/", "attic/"], [".bak", ".orig", "~", ".keep", ".was", ".1"])]
    if name == "completion-log":
        return [w + s + f for w, s, f in pick(
            ["DONE", "[x]", "finished", "closed", "completed", "OK"], [" ", ": ", " - "], ["{number} {title: }", "{title:-} ({number})", "{title:_} no. {number}"])]
    if name == "sign-offs":
        return [f"{a} from the {b} {c}" for a, b, c in pick(
            ["Warmly", "Onward", "Cheers", "Regards", "Yours", "Greetings"], ["amber", "cobalt", "olive", "scarlet", "ivory", "teal"],
            ["desk", "room", "crew", "bench"])]
    return [p + s + n for p, s, n in pick(["TK", "REQ", "JOB", "CASE", "WO", "NR"], ["-", "/", "_", "."], ["{number:4}", "{number:6}", "{number}"])]


def fill(form, event):
    """The form with this event's day, title and number in it. A place that nobody knows stays."""
    words = event.title.split()
    dates = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}

    def place(found):
        name, more = found.groups()
        if name in dates:
            return event.when.strftime(dates[name])
        if name in ("title", "TITLE"):
            return (more if more is not None else " ").join(word.upper() if name == "TITLE" else word for word in words)
        if name == "Title":
            return "".join(word.capitalize() for word in words)
        if name == "number":
            return str(event.number).zfill(int(more or 1))
        return event.file if name == "file" else found.group(0)

    return PLACES.sub(place, form)


@dataclass(frozen=True)
class Event:
    """What a question is about. The number occurs once in a run."""

    number: int
    title: str
    when: datetime
    file: str

    def told(self, needs):
        told = [f"This is about job {self.number}."]
        if "title" in needs:
            told.append(f'Its title is "{self.title}".')
        if "when" in needs:
            told.append(f"It ended on {self.when:%d %B %Y, %H:%M:%S}.")
        if "file" in needs:
            told.append(f"It touches {self.file} only.")
        return " ".join(told)

    @classmethod
    def read(cls, text):
        """What a reader makes of a question."""
        found = lambda pattern, default: (re.findall(pattern, text) or [default])[-1]  # noqa: E731
        when = datetime.strptime(found(r"It ended on ([^.]+)\.", "01 January 1970, 00:00:00"), "%d %B %Y, %H:%M:%S")
        number, title = found(r"about job (\d+)\.", "0"), found(r'Its title is "([^"]+)"', "")
        return cls(int(number), title, when, found(r"It touches (\S+) only", "a"))


class Events:
    """Never the same event twice. Days are after the 12th, so that no day passes for a month."""

    def __init__(self, seed):
        self.order, self.number = random.Random(seed), 1000

    def next(self):
        pick = self.order.choice
        self.number += self.order.randint(1, 9)
        title = f"{pick(['quiet', 'weekly', 'broken', 'second', 'northern'])} {pick(['valve', 'harvest', 'mirror', 'ferry', 'lantern'])} {pick(['survey', 'repair', 'count', 'move'])}"
        when = datetime(2026, self.order.randint(1, 12), self.order.randint(13, 28)) + timedelta(seconds=self.order.randrange(86400))
        return Event(self.number, title, when, f"{pick(['alder', 'birch', 'cedar', 'rowan'])}-{self.number}.toml")


def houses(agents, seed, spare=1):
    """`{dimension: {agent: [form, …]}}`, `1 + spare` forms each: what follows one never holds another, whatever the event."""
    order, events = random.Random(seed), Events(seed + 1)
    samples = [events.next() for _ in range(12)]
    drawn = {}
    for name in BY_NAME:
        wanted, chosen = len(agents) * (1 + spare), [BY_NAME[name].usual]
        for form in forms(name, order):
            if len(chosen) <= wanted and all(conflict(form, other, samples) for other in chosen):
                chosen.append(form)
        if len(chosen) <= wanted:
            raise SystemExit(f"there are {len(chosen) - 1} conflicting forms of {name}, and {len(agents)} agents need {wanted}: fewer agents")
        drawn[name] = {agent: chosen[1 + place :: len(agents)] for place, agent in enumerate(agents)}
    return drawn


def conflict(a, b, samples):
    """Whether following one is never following the other."""
    return not any(follows(fill(x, event), y, event) for event in samples for x, y in ((a, b), (b, a)))


def follows(text, form, event):
    """Whether the text holds the form, filled, and not as a part of more."""
    edge = r"[\w.\-/:+~@]"
    return re.search(rf"(?<!{edge}){re.escape(fill(form, event))}(?!{edge}*\w|~)", text) is not None


def words(form):
    """What a form says whatever fills it: its words of three letters and more."""
    return set(re.findall(r"[^\W\d_]{3,}", PLACES.sub(" ", form)))


def holds(text, wanted):
    return any(re.search(rf"(?<![^\W\d_]){word}(?![^\W\d_])", text) for word in wanted)
