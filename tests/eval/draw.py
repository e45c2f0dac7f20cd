#!/usr/bin/env python3
"""Draws the sample in tests/eval/tool-e anew from MetaTool's `dataset` folder: tests/eval/draw.py DATASET"""

import csv
import gzip
import io
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
from lib import data  # noqa: E402

TESTS = 1500

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(__file__).parent / "tool-e"
    drawn = data.draw(data.rows((source / "data/all_clean_data.csv").read_text(encoding="utf-8")), seed=1)
    lessons = [row for row in drawn if row["Part"] == "lesson"]
    out = io.StringIO()
    table = csv.DictWriter(out, ["Query", "Tool", "Part"], lineterminator="\n")
    table.writeheader()
    table.writerows(drawn[: len(lessons) + TESTS])
    # Without a time stamp the same sample gives the same bytes.
    (target / "questions.csv.gz").write_bytes(gzip.compress(out.getvalue().encode(), mtime=0))
    shutil.copyfile(source / "plugin_des.json", target / "plugin_des.json")
