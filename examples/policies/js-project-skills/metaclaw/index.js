// The contract `metaclaw:policy@1.0.0` for JavaScript: `index.d.ts` beside this file says what there is. An author need not read on.
import settings from "metaclaw:policy/settings@1.0.0";

/** Why a hook cannot decide. */
export class Problem extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** @param {string | undefined} reason @returns {[string, string][]} */
const attrs = (reason) => (reason ? [["reason", cut(reason, 1024)]] : []);

export const to = (target, reason) => ({ tag: "to", val: { target, attrs: attrs(reason) } });
export const refuse = (message) => ({ tag: "refuse", val: { message } });
export const allow = () => ({ tag: "allow" });
export const deny = (message) => ({ tag: "deny", val: message });
export const hold = (message) => ({ tag: "hold", val: message });
export const keep = (weight = 1) => ({ tag: "keep", val: weight });
export const drop = (reason) => ({ tag: "drop", val: cut(reason, 1024) });

/** All skills, by name; the host gives them in pages. */
export function* skills(catalog) {
  for (let offset = 0; ; ) {
    const page = catalog.list(offset, 256);
    if (page.length === 0) return;
    yield* page;
    offset += page.length;
  }
}

/** All messages, the oldest first. */
export function* messages(turn) {
  for (let i = 0, n = turn.messageCount(); i < n; i++) {
    const message = turn.message(i);
    if (message) yield message;
  }
}

export function define(policy) {
  let config; // This agent's settings, read once for each instance.
  const ask = (hook, convert) => (...given) => {
    try {
      config ??= read(policy, settings.get());
      return convert(policy[hook](...given, config));
    } catch (error) {
      throw said(error);
    } finally {
      // Handles are lent for the call, and must have been given back when it ends.
      for (const handle of given) handle?.[Symbol.dispose]?.();
    }
  };
  const grants = policy.grants ? [["grants", policy.grants]] : [];
  const { name, version, summary } = policy;
  const defined = {
    lifecycle: {
      describe: () => ({ name, version, summary, attrs: grants }),
      validateConfig(json) {
        try {
          read(policy, json);
          return [];
        } catch (error) {
          return error instanceof Wrong ? error.problems : [said(error)];
        }
      },
    },
  };
  for (const [hook, [of, convert]] of Object.entries(HOOKS)) {
    if (policy[hook]) defined[of] = { [hook]: ask(hook, convert) };
  }
  return defined;
}

/** The hooks: the interface of each, and what becomes of its answer. */
const HOOKS = {
  route: ["routing", tagged("route", "to", "refuse")],
  select: ["skillSelection", selection],
  render: ["skillRendering", String],
  gate: ["toolGate", tagged("gate", "allow", "deny", "hold")],
  filter: ["sampleFilter", tagged("filter", "keep", "drop")],
  reward: ["reward", (answer) => answer ?? null],
};

function selection(answer) {
  const { skills, reason } = Array.isArray(answer) ? { skills: answer } : answer;
  return { skills, attrs: attrs(reason) };
}

function tagged(hook, ...tags) {
  return (answer) => {
    if (tags.includes(answer?.tag)) return answer;
    throw new TypeError(`\`${hook}\` must give ${tags.map((tag) => `${tag}(…)`).join(" or ")}`);
  };
}

/** A configuration that is not usable, and everything that is wrong with it. */
class Wrong extends Error {
  constructor(messages) {
    super(messages.join("; "));
    this.problems = messages.map((message) => ({ code: "bad-config", message: cut(message, 1024) }));
  }
}

function read(policy, json) {
  const given = JSON.parse(json);
  if (kind(given) !== "mapping") throw new Wrong(["the settings must be a mapping of names to values"]);
  const known = policy.config ?? {};
  const wrong = [];
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(known, name)) {
      wrong.push(`there is no setting \`${name}\`; there are: ${Object.keys(known).join(", ") || "none"}`);
    } else if (known[name] !== null && kind(value) !== kind(known[name])) {
      wrong.push(`\`${name}\` must be a ${kind(known[name])}, not ${cut(JSON.stringify(value), 80)}`);
    }
  }
  const config = { ...known, ...given };
  if (wrong.length === 0) wrong.push(...(policy.check?.(config) ?? []));
  if (wrong.length > 0) throw new Wrong(wrong);
  return config;
}

function kind(value) {
  if (Array.isArray(value)) return "list";
  if (value === null) return "null";
  return typeof value === "object" ? "mapping" : typeof value;
}

/** What an operator gets to see of an exception: the policy's own problem, or the exception and where it arose. */
function said(error) {
  if (error instanceof Problem) return { code: error.code, message: cut(error.message, 1024) };
  if (!(error instanceof Error)) return { code: "exception", message: cut(String(error), 1024) };
  const where = /policy\.js:\d+/.exec(error.stack ?? "");
  return { code: "exception", message: cut(`${error.name}: ${error.message}${where ? ` (${where[0]})` : ""}`, 1024) };
}

/** At most so many bytes of UTF-8, near enough: no character has more than four. */
const cut = (text, bytes) => (text.length * 3 > bytes ? text.slice(0, bytes / 3) : text);
