// Tells the MetaClaw host who speaks. OpenClaw's model requests name neither agent nor session; this plugin owns the
// provider `metaclaw`, wraps the function that sends each of its requests, and adds the names as headers of that one
// request, so that concurrent runs cannot mix. When OpenClaw ends a conversation, the plugin tells the host.
import type {
  OpenClawConfig,
  OpenClawPluginApi,
  OpenClawPluginDefinition,
  ProviderWrapStreamFnContext,
} from "openclaw/plugin-sdk/plugin-entry";

const PROVIDER_ID = "metaclaw";
const AGENT_ID = "X-Agent-Id";
const SESSION_ID = "X-Session-Id";
const SESSION_KEY = "X-Session-Key";
const TURN_TYPE = "X-Turn-Type";
const OWN_HEADERS = new Set([AGENT_ID, SESSION_ID, SESSION_KEY, TURN_TYPE].map((name) => name.toLowerCase()));

/** Runs that nobody asked for. A run's trigger is otherwise `user`, `manual` or the like. */
const SIDE_TRIGGERS = new Set(["heartbeat", "cron", "memory", "overflow"]);
/** OpenClaw announces a model call before it is made, yet delivers the announcement a moment later. */
const ANNOUNCEMENT_MS = 250;
const SESSION_END_MS = 2000;
const MAX_ENDING = 16;
/** Bounds each table of what was seen; the oldest entry makes room for the newest. */
const MAX_SEEN = 4096;

type StreamFn = NonNullable<ProviderWrapStreamFnContext["streamFn"]>;
type HeaderMap = Record<string, string>;
type Run = { trigger?: string | undefined; sessionKey?: string | undefined };
type Call = { sessionId?: string | undefined; sessionKey?: string | undefined };
type Announcement = { promise: Promise<Call>; resolve: (call: Call) => void };

// OpenClaw registers a plugin several times in one process, and the hooks and the provider in force can come from
// different registrations. What they share therefore lives on the process.
type Shared = {
  /** Which run is what, by run id; from the hooks that need `allowConversationAccess`. */
  runs: Map<string, Run>;
  /** Whose model call is being made, by call id. */
  calls: Map<string, Announcement>;
  /** The agent of each session that spoke to the host. */
  sessions: Map<string, string>;
  /** Sessions whose end is on its way to the host. */
  ending: Map<string, Promise<void>>;
  warned: boolean;
};
const SHARED = Symbol.for("metaclaw.openclaw-plugin.v1");
const slot = globalThis as typeof globalThis & { [SHARED]?: Shared };
const shared: Shared = (slot[SHARED] ??= {
  runs: new Map(),
  calls: new Map(),
  sessions: new Map(),
  ending: new Map(),
  warned: false,
});

const plugin = {
  id: "metaclaw",
  name: "MetaClaw",
  description: "Tells the MetaClaw host which agent, session and kind of turn each model request belongs to",
  register(api: OpenClawPluginApi): void {
    observeCalls(api);
    const knowsTurns = observeRuns(api);
    observeSessionEnds(api);
    api.registerProvider({
      id: PROVIDER_ID,
      label: "MetaClaw",
      auth: [],
      wrapStreamFn: (ctx) => wrap(ctx, api.config, knowsTurns, true),
      wrapSimpleCompletionStreamFn: (ctx) => wrap(ctx, api.config, knowsTurns, false),
    });
  },
} satisfies OpenClawPluginDefinition;
export default plugin;

/** Every model call of a run, compactions included, is announced with its session under the call's own id. */
function observeCalls(api: OpenClawPluginApi): void {
  api.on("model_call_started", (call) => announcement(call.callId).resolve(call));
  api.on("model_call_ended", (call) => void shared.calls.delete(call.callId));
}

/** The announcement of a call, for whichever of its sender and its reader comes first. */
function announcement(callId: string): Announcement {
  const known = shared.calls.get(callId);
  if (known) return known;
  const { promise, resolve } = Promise.withResolvers<Call>();
  return remember(shared.calls, callId, { promise, resolve });
}

/**
 * Learns what started each run, and says whether it can. OpenClaw drops these hooks without an error when the operator
 * has not allowed them; the plugin then names no kind of turn at all instead of guessing.
 */
function observeRuns(api: OpenClawPluginApi): boolean {
  if (api.config.plugins?.entries?.[api.id]?.hooks?.allowConversationAccess !== true) {
    if (!shared.warned) {
      shared.warned = true;
      const key = `plugins.entries.${api.id}.hooks.allowConversationAccess`;
      api.logger.warn(`metaclaw: set ${key} to true: without it the host takes every turn of a session as a side turn`);
    }
    return false;
  }
  const note = (_event: unknown, ctx: Run & { runId?: string }): void => {
    if (ctx.runId) remember(shared.runs, ctx.runId, { trigger: ctx.trigger, sessionKey: ctx.sessionKey });
  };
  // A run whose model is locked skips the first; an operator may forbid the second (`allowPromptInjection`).
  api.on("before_model_resolve", note);
  api.on("before_prompt_build", note);
  return true;
}

/** Names the speaker on each request of a run, or of a caller outside of runs such as a titler. */
function wrap(ctx: ProviderWrapStreamFnContext, config: OpenClawConfig, knowsTurns: boolean, ofRun: boolean) {
  const send = ctx.streamFn;
  if (!send) return undefined;
  const host = originOf(baseUrl(ctx.config ?? config));
  const wrapped: StreamFn = (model, context, options) => {
    // A model may carry a base URL of its own. Who speaks is nobody's business but the host's.
    if (host === undefined || originOf(model.baseUrl) !== host) return send(model, context, options);

    const callId = options?.requestId;
    const run = shared.runs.get(runOf(callId) ?? "");
    const stamped = (call: Call): ReturnType<StreamFn> => {
      const sessionId = printable(options?.sessionId ?? call.sessionId);
      const sessionKey = printable(run?.sessionKey ?? call.sessionKey);
      const agentId = printable(ctx.agentId ?? agentOf(sessionKey) ?? shared.sessions.get(sessionId ?? ""));
      const headers = withoutOwn(options?.headers ?? {});
      if (agentId) {
        headers[AGENT_ID] = agentId;
        // Sessions belong to agents: without its agent a session would be taken for another one's.
        if (sessionId) {
          headers[SESSION_ID] = sessionId;
          remember(shared.sessions, sessionId, agentId);
        }
        if (sessionKey) headers[SESSION_KEY] = sessionKey;
      }
      // Without its id a run's call cannot be told from a call that serves it.
      const kind = knowsTurns && !(ofRun && callId === undefined) ? turnType(run, options?.sessionId) : undefined;
      if (kind) headers[TURN_TYPE] = kind;
      // The model's headers come from the configuration, where a fixed name would speak for every agent.
      const named = Object.keys(model.headers ?? {}).some(isOwn);
      const target = named ? { ...model, headers: withoutOwn(model.headers ?? {}) } : model;
      return send(target, context, { ...options, headers });
    };

    const known = options?.sessionId !== undefined && run?.sessionKey !== undefined;
    const ending = shared.ending.get(options?.sessionId ?? "");
    // Callers outside of runs expect a stream at once, never a promise of one.
    if (!ofRun || callId === undefined || (known && !ending)) return stamped({});
    return (async () => {
      // A session's id outlives `/new`: its next turn must not overtake the end of its last conversation.
      await ending;
      const call = known ? undefined : await within(ANNOUNCEMENT_MS, announcement(callId).promise);
      return stamped(call ?? {});
    })();
  };
  return wrapped;
}

/** A run's own calls carry its session. Those that do not (compactions, titles) only serve it. */
function turnType(run: Run | undefined, sessionId: string | undefined): "main" | "side" | undefined {
  if (!run || !sessionId) return "side";
  if (!run.trigger) return undefined;
  return SIDE_TRIGGERS.has(run.trigger) ? "side" : "main";
}

function observeSessionEnds(api: OpenClawPluginApi): void {
  api.on("session_end", async (event) => {
    const { sessionId, reason } = event;
    // After a shutdown or a restart the session goes on, and after most compactions too. A reset keeps the session's id
    // as well, but the conversation that the host knows under it is over.
    if (reason === "shutdown" || reason === "restart") return;
    if (reason === "compaction" && (event.nextSessionId ?? sessionId) === sessionId) return;
    const agentId = shared.sessions.get(sessionId);
    if (agentId === undefined) return; // The host has not heard of it since OpenClaw started.
    if (shared.ending.size >= MAX_ENDING) {
      api.logger.warn("metaclaw: too many sessions end at once; the host will end this one when it stays silent");
      return;
    }
    shared.sessions.delete(sessionId);
    const end = endSession(api, agentId, sessionId).finally(() => shared.ending.delete(sessionId));
    shared.ending.set(sessionId, end);
    await end;
  });
}

/** Tells the host that a session is over. Never fails: the host ends silent sessions by itself. */
async function endSession(api: OpenClawPluginApi, agentId: string, sessionId: string): Promise<void> {
  // From here on: a call that comes late would end the conversation that has begun since.
  const signal = AbortSignal.timeout(SESSION_END_MS);
  const request = async (): Promise<string | undefined> => {
    const config = api.runtime.config.current() as OpenClawConfig;
    const host = originOf(baseUrl(config));
    if (host === undefined) return "no base URL is configured";
    const headers: HeaderMap = { [AGENT_ID]: agentId, [SESSION_ID]: sessionId };
    const key = await providerKey(api, config, agentId);
    if (key) headers["Authorization"] = `Bearer ${key}`;
    signal.throwIfAborted();
    // A redirect would carry the names to a place that nobody configured.
    const response = await fetch(`${host}/v1/sessions/end`, { method: "POST", headers, redirect: "error", signal });
    await response.body?.cancel();
    return response.ok ? undefined : `HTTP ${response.status}`;
  };
  const outcome = request().catch(describe).then((failure) => ({ failure }));
  const { failure } = (await within(SESSION_END_MS, outcome)) ?? { failure: "no answer in time" };
  if (failure === undefined) api.logger.debug?.(`metaclaw: ended session ${sessionId} of ${agentId}`);
  else api.logger.warn(`metaclaw: the host was not told that session ${sessionId} of ${agentId} ended: ${failure}`);
}

/**
 * The provider's key as OpenClaw resolves it for this agent, from `${ENV}`, a secret reference or the agent's own
 * credentials. OpenClaw asks whose credentials are meant when a configuration has several agents, and the only way to
 * answer is a configuration that has one.
 */
async function providerKey(api: OpenClawPluginApi, config: OpenClawConfig, agent: string): Promise<string | undefined> {
  // OpenClaw knows agents in lower case, and the configuration by whatever its author wrote.
  const entries = Object.entries(config.agents?.entries ?? {});
  const own = entries.filter(([id]) => id.trim().toLowerCase() === agent);
  const cfg = own.length > 0 ? { ...config, agents: { ...config.agents, entries: Object.fromEntries(own) } } : config;
  return (await api.runtime.modelAuth.resolveApiKeyForProvider({ provider: PROVIDER_ID, cfg })).apiKey;
}

function baseUrl(config: OpenClawConfig): string | undefined {
  return config.models?.providers?.[PROVIDER_ID]?.baseUrl;
}

function originOf(url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return undefined;
  const { protocol, origin } = new URL(url);
  return protocol === "http:" || protocol === "https:" ? origin : undefined;
}

/** The run in a call id of the form `RUN:model:N`. */
function runOf(callId: string | undefined): string | undefined {
  return callId?.match(/^(.+):model:\d+$/s)?.[1];
}

/** The agent in a session key of the form `agent:ID:...`. */
function agentOf(sessionKey: string | undefined): string | undefined {
  return sessionKey?.match(/^agent:([^:]+):/)?.[1];
}

/** What may stand in a header; anything else is left out rather than changed into another name. */
function printable(value: string | undefined): string | undefined {
  return value && /^[\x21-\x7e]{1,256}$/.test(value) ? value : undefined;
}

function isOwn(header: string): boolean {
  return OWN_HEADERS.has(header.toLowerCase());
}

function withoutOwn(headers: HeaderMap): HeaderMap {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !isOwn(name)));
}

function remember<V>(map: Map<string, V>, key: string, value: V): V {
  map.delete(key);
  map.set(key, value);
  const oldest = map.size > MAX_SEEN ? map.keys().next().value : undefined;
  if (oldest !== undefined) map.delete(oldest);
  return value;
}

/** The promise's value, or nothing when it takes longer. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => void (timer = setTimeout(() => resolve(undefined), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What went wrong, without the request that it went wrong with. */
function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.name) : "an unknown error";
}
