// Stamps agent, session and turn identity on every model request that OpenClaw sends to the
// "metaclaw" provider. The headers are set per request inside the provider's stream wrapper,
// so concurrent runs of different agents cannot mix.
import { definePluginEntry, type OpenClawPluginApi, type ProviderWrapStreamFnContext } from "openclaw/plugin-sdk/plugin-entry";

const PROVIDER_ID = "metaclaw";
const SIDE_TRIGGERS = new Set(["heartbeat", "cron", "memory", "overflow"]);
const MAX_TURNS = 1024;

type Turn = { agentId?: string; sessionId?: string; sessionKey?: string; trigger?: string };

// OpenClaw registers a plugin several times in one process, and the hooks and the provider in force can
// come from different registrations: what they share lives on the process.
// turns: runId -> what the prompt hooks said about the turn. A run's hooks come before its model calls.
type Shared = { turns: Map<string, Turn>; hooksSeen: boolean };
const slot = globalThis as typeof globalThis & { [k: symbol]: Shared | undefined };
const shared: Shared = (slot[Symbol.for("agent-host.turns")] ??= { turns: new Map(), hooksSeen: false });

/** Header values: printable ASCII, at most 256 bytes. */
function clean(value: string | undefined): string | undefined {
  const v = value?.trim();
  if (!v || v.length > 256 || !/^[\x21-\x7e]+$/.test(v)) return undefined;
  return v;
}

/** OpenClaw names one model call "<runId>:model:<n>". */
function runIdOf(requestId: string | undefined): string | undefined {
  const at = requestId?.lastIndexOf(":model:") ?? -1;
  return at > 0 ? requestId!.slice(0, at) : undefined;
}

export default definePluginEntry({
  id: "metaclaw",
  name: "Agent Host",
  description: "Stamps agent, session and turn identity on requests to the agent policy host",
  register(api: OpenClawPluginApi) {
    const cfg = (api.pluginConfig ?? {}) as Record<string, string | undefined>;
    const names = {
      agentId: cfg.agentIdHeader ?? "X-Agent-Id",
      sessionId: cfg.sessionIdHeader ?? "X-Session-Id",
      turnType: cfg.turnTypeHeader ?? "X-Turn-Type",
      sessionKey: cfg.sessionKeyHeader ?? "X-Session-Key",
    };
    const owned = new Set(Object.values(names).map((n) => n.toLowerCase()));

    const { turns } = shared;
    const remember = (ctx: { runId?: string } & Turn) => {
      shared.hooksSeen = true;
      if (!ctx.runId) return;
      turns.delete(ctx.runId);
      turns.set(ctx.runId, { agentId: ctx.agentId, sessionId: ctx.sessionId, sessionKey: ctx.sessionKey, trigger: ctx.trigger });
      if (turns.size > MAX_TURNS) turns.delete(turns.keys().next().value as string);
    };
    api.on("before_model_resolve", (_event, ctx) => remember(ctx));
    api.on("before_prompt_build", (_event, ctx) => remember(ctx));
    api.on("agent_end", (_event, ctx) => {
      if (ctx.runId) turns.delete(ctx.runId);
    });

    const wrap = (ctx: ProviderWrapStreamFnContext) => {
      const inner = ctx.streamFn;
      if (!inner) return undefined;
      const wrapped: typeof inner = (model, context, options) => {
        const turn = turns.get(runIdOf(options?.requestId) ?? "");
        const headers: Record<string, string> = {};
        for (const [k, v] of Object.entries(options?.headers ?? {})) {
          if (!owned.has(k.toLowerCase()) && typeof v === "string") headers[k] = v;
        }
        const put = (name: string, value: string | undefined) => {
          const v = clean(value);
          if (v) headers[name] = v;
        };
        put(names.agentId, ctx.agentId ?? turn?.agentId);
        put(names.sessionId, options?.sessionId ?? turn?.sessionId);
        put(names.sessionKey, turn?.sessionKey);
        // A model call that no prompt hook announced (compaction, utility calls) is a side call. When no
        // hook ever ran, the operator has not granted allowConversationAccess: say nothing, do not guess.
        if (shared.hooksSeen) put(names.turnType, turn && !SIDE_TRIGGERS.has(turn.trigger ?? "") ? "main" : "side");
        return inner(model, context, { ...options, headers });
      };
      return wrapped;
    };

    api.registerProvider({
      id: PROVIDER_ID,
      label: "Agent Host",
      auth: [],
      wrapStreamFn: wrap,
      wrapSimpleCompletionStreamFn: wrap,
    });
  },
});
