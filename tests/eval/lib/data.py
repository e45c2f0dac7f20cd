"""ToolE's tools as skills, and its questions as tests and lessons.

One question in five, by a hash of its text, was looked at when the ranking's constants were chosen. Those are never used here.
"""

import csv
import gzip
import hashlib
import io
import json
import random
import re

LESSONS_EACH = 10


def load(folder, tests, seed):
    """`{skill: description}`, `[(question, skill)]` to test with, `{skill: [question]}` to learn from; never the same question."""
    tools = json.loads((folder / "plugin_des.json").read_text(encoding="utf-8"))
    skills = {skill_name(tool): about for tool, about in tools.items()}
    sample, whole = folder / "questions.csv.gz", folder / "data/all_clean_data.csv"
    if sample.exists():
        drawn = rows(gzip.decompress(sample.read_bytes()).decode())
    elif whole.exists():
        drawn = draw(rows(whole.read_text(encoding="utf-8")), seed)
    else:
        raise SystemExit(f"neither {sample} nor {whole} is there: give the sample's folder or MetaTool's `dataset` folder")
    asked, lessons = [], {skill: [] for skill in skills}
    for row in drawn:
        skill = skill_name(row["Tool"])
        if row["Part"] == "lesson":
            lessons[skill].append(row["Query"])
        else:
            asked.append((row["Query"], skill))
    return skills, asked[:tests] if tests else asked, lessons


def draw(all_rows, seed):
    """Up to ten lessons for each tool, then every other question as a test, in random order: the sample is the start of that."""
    order = random.Random(seed)
    of_tool, seen = {}, set()
    for row in all_rows:
        if not chosen_with(row["Query"]) and row["Query"] not in seen:
            seen.add(row["Query"])
            of_tool.setdefault(row["Tool"], []).append(row["Query"])
    lessons, tests = [], []
    for tool, questions in of_tool.items():
        order.shuffle(questions)
        # A tool with few questions keeps half of them for the test.
        for place, question in enumerate(questions):
            lesson = place < min(LESSONS_EACH, len(questions) // 2)
            (lessons if lesson else tests).append({"Query": question, "Tool": tool, "Part": "lesson" if lesson else "test"})
    order.shuffle(tests)
    return lessons + tests


def chosen_with(question):
    """Whether the constants were chosen with this question."""
    return int(hashlib.sha256(question.encode()).hexdigest(), 16) % 5 == 0


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def skill_name(tool):
    """`ResearchHelper` is `research-helper`: the names of skills are small letters, digits and dashes."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", tool)
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower()
