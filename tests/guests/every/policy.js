// Uses everything that the helper has.
import { allow, define, deny, drop, hold, keep, messages, Problem, refuse, skills, to } from "./metaclaw/index.js";
import { files } from "./metaclaw/files.js";
import { kv } from "./metaclaw/kv.js";
import { log } from "./metaclaw/log.js";

const kept = [];

export const { lifecycle, routing, skillSelection, skillRendering, toolGate, sampleFilter, reward } = define({
  name: "every",
  version: "1.0.0",
  summary: "Uses everything.",
  grants: "skills:read",

  route(turn) {
    kept.push(turn); // A handle that is kept too long does no harm.
    const heard = [turn.agent(), turn.session(), turn.index(), turn.kind(), turn.mode(), turn.bodySize() > 0, turn.receivedAt() > 0, turn.requestedModel()];
    log(`turn ${heard} ${turn.toolNames()} ${[...messages(turn)].map((m) => m.role)} ${turn.attr("none")}`);
    const count = Number(kv.get("count") ?? "0") + 1;
    kv.set("count", String(count));
    kv.set("gone", "ü");
    kv.delete("gone");
    log(`kept ${kv.keys()} ${count}`, "warn");
    if (turn.userText() === "refuse") return refuse("refused");
    if (turn.userText() === "throw") nothing();
    return to(turn.targets()[0], "r".repeat(2000));
  },
  select(turn, catalog) {
    log(`skills ${[...skills(catalog)].map((s) => s.name)} ${catalog.len()}`);
    const entry = files.stat("skills", "tides/notes.txt");
    log(`files ${files.list("skills", "tides").map((e) => e.name)} ${entry.size} ${files.read("skills", "tides/notes.txt")}`);
    try {
      files.read("skills", "nothing");
    } catch (error) {
      if (error instanceof Problem) log(`problem ${error.code}`);
    }
    return catalog.search(turn.userText(), 5).map((s) => s.name);
  },
  render: (turn, catalog, names) => names.map((name) => `laid out: ${catalog.read(name)}`).join("\n"),
  gate(turn, call) {
    if (call.name === "remove") return deny(`denied ${call.arguments}`);
    return call.name === "send" ? hold("held") : allow();
  },
  filter(sample) {
    log(`sample ${sample.model()} ${sample.finishReason()} ${sample.hasTokens()} ${sample.skills()}`);
    return sample.answerText().includes("drop") ? drop(`dropped ${sample.userText()}`) : keep(0.5);
  },
  reward: (sample) => (sample.toolCalls().length > 0 ? 1 : -0.5),
});
