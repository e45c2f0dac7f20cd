"""`metaclaw start` on a home of its own, spoken to by as many threads as like."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# How long one answer may take: the embedded model has one core, and others may be asking it.
ANSWER = 300


@dataclass
class Answer:
    turn: str
    agent: str
    adapter: str
    text: str
    finish: str
    usage: dict
    seconds: float


class Running:
    """The host with this configuration; `skills` is `{(folder, name): (description, body)}`."""

    def __init__(self, command, config, skills=None, models=None, keep=None):
        self.command, self.local = str(command), threading.local()
        if not Path(self.command).exists():
            raise SystemExit(f"there is no {self.command}: `make build` builds it")
        self.kept = keep is not None
        self.home = Path(keep or tempfile.mkdtemp(prefix="metaclaw-eval-"))
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        file = self.home / "config.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(config, indent=1), encoding="utf-8")
        file.chmod(0o600)
        for (folder, name), (description, body) in (skills or {}).items():
            self.write_skill(folder, name, description, body)
        if models and Path(models).is_dir() and not (self.home / "models").exists():
            (self.home / "models").symlink_to(Path(models).resolve())

    def write_skill(self, folder, name, description, body):
        into = self.home / "skills" / folder / name
        into.mkdir(parents=True, exist_ok=True)
        text = f"---\nname: {name}\ndescription: {json.dumps(description)}\n---\n\n{body}\n"
        (into / "SKILL.md").write_text(text, encoding="utf-8")

    def __enter__(self):
        log = self.home / "eval.log"
        with log.open("a") as errors:
            words = [self.command, "--home", str(self.home), "start", "--json", "--port", "0"]
            self.child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "NO_PROXY": "*"})
        greeting = self.child.stdout.readline()
        if not greeting:
            self.child.wait()
            said = " ".join(log.read_text().replace(str(self.home), "").split())[-600:]
            self.remove()
            raise SystemExit(f"the host does not start: {said}")
        self.port = int(json.loads(greeting)["address"].rsplit(":", 1)[1])
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()
        self.remove()

    def remove(self):
        if not self.kept:
            shutil.rmtree(self.home, ignore_errors=True)

    def chat(self, agent, session, messages, *, stream=False, done=False, kind="main", **more):
        """One turn. `_default` is who says no name."""
        headers = {"x-session-id": session, "x-turn-type": kind}
        headers |= {"x-agent-id": agent} if agent != "_default" else {}
        headers |= {"x-session-done": "true"} if done else {}
        body = json.dumps({"model": "any", "messages": messages, "stream": stream, **more})
        before = time.perf_counter()
        status, answered, text = self.request("POST", "/v1/chat/completions", body, headers)
        seconds = time.perf_counter() - before
        if status != 200:
            raise SystemExit(f"a turn of {agent} was answered with {status}: {text[:400]!r}")
        if stream:
            words, finish, usage = streamed(text), "", {}
        else:
            value = json.loads(text)
            choice, usage = value["choices"][0], value.get("usage", {})
            words, finish = choice["message"].get("content") or "", choice["finish_reason"]
        adapter = answered.get("x-metaclaw-adapter", "")
        return Answer(answered["x-request-id"], answered["x-metaclaw-agent"], adapter, words, finish, usage, seconds)

    def end(self, agent, session):
        headers = {"x-session-id": session, "x-turn-type": "main"}
        headers |= {"x-agent-id": agent} if agent != "_default" else {}
        return self.request("POST", "/v1/sessions/end", "{}", headers)[0]

    def metrics(self, name):
        """`{labels: value}` of one metric."""
        _, _, text = self.request("GET", "/metrics")
        found = re.findall(rf"^{re.escape(name)}(\{{[^}}]*\}})? (\S+)$", text.decode(), re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    def request(self, method, path, body=None, headers=None):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER)
        return exchanged(connection, method, path, body, headers)

    def admin(self, method, path, body=None):
        """Asks the admin socket, as the operator's commands do."""
        connection = http.client.HTTPConnection("localhost", timeout=ANSWER)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.home / "run/admin.sock"))
        status, _, text = exchanged(connection, method, path, body, None)
        connection.close()
        return status, json.loads(text or b"null")


def exchanged(connection, method, path, body, headers):
    sent = {"content-type": "application/json", **(headers or {})}
    asking = (method, path, body.encode() if body else None, sent)
    try:
        connection.request(*asking)
        answer = connection.getresponse()
    except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
        # It was idle for so long that the host has closed it.
        connection.close()
        connection.request(*asking)
        answer = connection.getresponse()
    text = answer.read()
    # A request that the host refuses unread ends its connection; the next one opens another.
    if answer.will_close or answer.status >= 400:
        connection.close()
    return answer.status, answer.headers, text


def streamed(text):
    """The words of a stream that ended as one must."""
    lines = [line[6:] for line in text.decode().splitlines() if line.startswith("data: ")]
    if lines[-1:] != ["[DONE]"]:
        raise SystemExit(f"a stream ended with {lines[-1:]!r}")
    deltas = [choice["delta"].get("content") for line in lines[:-1] for choice in json.loads(line)["choices"]]
    return "".join(delta for delta in deltas if delta)


def until(what, ready, patience=60.0):
    """Waits until `ready` gives something."""
    deadline = time.monotonic() + patience
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > deadline:
            raise SystemExit(f"still not so after {patience:.0f} s: {what}")
        time.sleep(0.05)
