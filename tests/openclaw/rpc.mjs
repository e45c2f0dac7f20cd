// Calls a running OpenClaw gateway as an operator of its own machine, over one WebSocket.
//   node rpc.mjs PORT TOKEN    reads lines `METHOD JSON`, calls them one after another, and prints one JSON answer a line;
//                              a line `METHOD JSON -> TEXT` is called again until its answer holds the text
import { createInterface } from "node:readline";

const [port, token] = process.argv.slice(2);
const socket = new WebSocket(`ws://127.0.0.1:${port}`);
const waiting = new Map();

function call(method, params) {
  const id = String(waiting.size + 1);
  socket.send(JSON.stringify({ type: "req", id, method, params }));
  return new Promise((answered) => waiting.set(id, answered));
}

async function work() {
  const hello = await call("connect", {
    minProtocol: 4,
    maxProtocol: 4,
    role: "operator",
    scopes: ["operator.admin", "operator.read", "operator.write"],
    client: { id: "gateway-client", version: "1.0.0", platform: "linux", mode: "backend" },
    caps: [],
    auth: { token },
  });
  if (!hello.ok) throw new Error(JSON.stringify(hello));
  for await (const line of createInterface({ input: process.stdin })) {
    const [request, wanted = ""] = line.split(" -> ");
    const space = request.indexOf(" ");
    for (const began = Date.now(); ; await new Promise((later) => setTimeout(later, 100))) {
      const { ok, payload, error } = await call(request.slice(0, space), JSON.parse(request.slice(space)));
      const answer = JSON.stringify(ok ? { ok: payload } : { error });
      if (ok && !answer.includes(wanted) && Date.now() - began < 60_000) continue;
      console.log(answer);
      break;
    }
  }
  process.exit(0);
}

socket.onmessage = ({ data }) => {
  const frame = JSON.parse(data);
  if (frame.event === "connect.challenge") work().catch(fail);
  // `agent` answers "accepted" at once, and again when the turn is over.
  if (frame.type === "res" && frame.payload?.status !== "accepted") waiting.get(frame.id)?.(frame);
};
socket.onclose = ({ code, reason }) => fail(`closed: ${code} ${reason}`);

function fail(why) {
  console.error(why);
  process.exit(1);
}
