"""A model whose words are a function of what it is asked, over HTTP as OpenAI has it."""

import http.server
import json
import re
import threading


class Scripted:
    """Serves `answer(messages)`, which whoever derives from this gives, while it is entered."""

    def __enter__(self):
        handler = type("Handler", (Chat,), {"model": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"


class Chat(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Two small writes would wait for each other's acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = self.model.answer(asked["messages"])
        if asked.get("stream"):
            deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in re.findall(r"\S*\s*", words) if piece)]
            events = [self.chunk(delta, None) for delta in deltas] + [self.chunk({}, "stop"), "[DONE]"]
            return self.send("text/event-stream", "".join(f"data: {event}\n\n" for event in events))
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        whole = {"id": "eval", "object": "chat.completion", "created": 0, "model": "scripted", "choices": [message], "usage": usage}
        return self.send("application/json", json.dumps(whole))

    def do_GET(self):
        self.send("application/json", json.dumps({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))

    def chunk(self, delta, reason):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return json.dumps({"id": "eval", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": [choice]})

    def send(self, kind, words):
        body = words.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
