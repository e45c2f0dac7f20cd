"""The real host on a home of its own, with an upstream in this process that sees its prompts."""

import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .scripted import Scripted

SKILL_HEADING = re.compile(r"^### ([a-z0-9_-]+)$", re.MULTILINE)
# How long the host may take until a turn can be asked about, or new skills are searched.
PATIENCE = 60.0


class Upstream(Scripted):
    """Answers every chat with the names of the skills that are in its prompt, in order."""

    def answer(self, messages):
        system = "\n".join(m["content"] for m in messages if m["role"] == "system")
        return " ".join(SKILL_HEADING.findall(system)) or "none"


@dataclass
class Answer:
    turn: str
    skills: list
    seconds: float


class Host:
    """`metaclaw start` with these skills for one agent."""

    def __init__(self, args, upstream, agent, skills, mode):
        self.agent, self.remarks, self.asked = agent, [], 0
        self.command, self.upstream = str(args.metaclaw), upstream
        self.wanted = {"retrieval_mode": mode, **({"embedder": args.embedder} if args.embedder else {})}
        if not Path(self.command).exists():
            raise SystemExit(f"there is no {self.command}: `make build` builds it")
        self.home = Path(tempfile.mkdtemp(prefix="metaclaw-eval-"))
        self.home.chmod(0o700)
        for name, about in skills.items():
            folder = self.home / "skills" / agent / name
            folder.mkdir(parents=True)
            # Quoted as YAML wants it: JSON's strings are YAML's.
            text = f"---\nname: {name}\ndescription: {json.dumps(about, ensure_ascii=False)}\n---\n\nDo what the description says.\n"
            (folder / "SKILL.md").write_text(text, encoding="utf-8")
        if Path(args.models).is_dir():
            (self.home / "models").symlink_to(Path(args.models).resolve())

    def __enter__(self):
        if not self.starts(self.wanted):
            self.remarks.append(f"this build refuses {self.wanted}, so its own ranking was measured: {self.refusal}")
            self.wanted = {}
            if not self.starts({}):
                shutil.rmtree(self.home)
                raise SystemExit(f"the host does not start: {self.refusal}")
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        # An agent is known by its name when it has spoken.
        self.ask("hello")
        self.settled()
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.child.terminate()
        self.child.wait()
        shutil.rmtree(self.home)

    def starts(self, wanted):
        config = self.home / "config.yaml"
        config.write_text(
            f'llm: {{ provider: custom, api_base: "{self.upstream.base}", model_id: scripted }}\n'
            f"skills: {json.dumps({'top_k': 6, **wanted})}\n"
        )
        config.chmod(0o600)
        log = self.home / "log"
        with log.open("w") as errors:
            words = [self.command, "--home", str(self.home), "start", "--json", "--port", "0"]
            self.child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "NO_PROXY": "*"})
        greeting = self.child.stdout.readline()
        if greeting:
            self.port = int(json.loads(greeting)["address"].rsplit(":", 1)[1])
            return True
        self.child.wait()
        self.refusal = " ".join(log.read_text().replace(str(self.home), "").split())[:200]
        return False

    def settled(self):
        """Waits until every skill has its vector, on a build that says so. Feedback that is answered has its effect."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            waiting = re.findall(r"^metaclaw_skill_vectors_missing\S* (\S+)$", self.metrics(), re.MULTILINE)
            if all(float(number) == 0 for number in waiting):
                return
            time.sleep(0.05)
        self.remarks.append(f"vectors of skills were missing after {PATIENCE:.0f} s")

    def ask(self, question):
        """One turn in a session of its own: within a session the choice of skills is kept."""
        self.asked += 1
        body = json.dumps({"model": "any", "messages": [{"role": "user", "content": question}]})
        headers = {"x-session-id": f"eval-{self.asked}", "x-turn-type": "main", "x-agent-id": self.agent}
        before = time.perf_counter()
        status, answered, text = self.request("POST", "/v1/chat/completions", body, headers)
        seconds = time.perf_counter() - before
        if status != 200:
            raise SystemExit(f"a turn was answered with {status}: {text[:300]!r}")
        seen = json.loads(text)["choices"][0]["message"]["content"].split()
        return Answer(answered["x-request-id"], [] if seen == ["none"] else seen, seconds)

    def helped(self, turn, skill):
        """Says that this skill was of use in that turn. Returns why the host did not take it, or nothing."""
        body = json.dumps({"turn": turn, "reward": 1, "skills": [skill]})
        # A turn can be spoken of at once: the host waits until it is durable.
        status, _, text = self.request("POST", "/v1/feedback", body, {"x-agent-id": self.agent})
        return None if status == 200 else f"{status} {' '.join(text.decode(errors='replace').split())[:120]}"

    def metrics(self):
        """All that the host counts, as Prometheus wants it."""
        return self.request("GET", "/metrics")[2].decode()

    def request(self, method, path, body=None, headers=None):
        sent = {"content-type": "application/json", **(headers or {})}
        self.connection.request(method, path, body.encode() if body else None, sent)
        answer = self.connection.getresponse()
        text = answer.read()
        # A request that the host refuses unread ends its connection; the next one opens another.
        if answer.will_close or answer.status >= 400:
            self.connection.close()
        return answer.status, answer.headers, text
