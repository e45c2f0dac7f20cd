// The contract `metaclaw:policy@1.0.0` as JavaScript has it. Names and meanings are those of wit/deps/metaclaw-policy/policy.wit.

/** A place where a turn may be answered. An empty model is the one that the client asks for. */
export interface Target {
  upstream: string;
  model: string;
}

/** One message of a request; of parts only the text. */
export interface Message {
  role: string;
  text: string;
}

/** What a turn and a sample have in common. Everything is asked of the host at each call: what is not read costs nothing. */
interface Asked {
  /** The agent's id; `_default` when the client named none. */
  agent(): string;
  session(): string;
  /** When the host had the whole request, in milliseconds since 1970. */
  receivedAt(): number;
  /** The user's last words, without what OpenClaw adds around them. */
  userText(): string;
  messageCount(): number;
  /** From 0, the oldest; nothing past the end. `messages(turn)` gives them all. */
  message(index: number): Message | null | undefined;
  attr(name: string): string | null | undefined;
}

/** The turn that is to be decided on. It is there during the call only. */
export interface Turn extends Asked {
  /** How many turns this session has had before. */
  index(): number;
  /** `main` or `side`. */
  kind(): string;
  /** `skills_only`, `rl` or `auto`. */
  mode(): string;
  /** The model that the client asked for; may be empty. */
  requestedModel(): string;
  /** Size of the request in bytes. */
  bodySize(): number;
  /** Names of the tools that the client offers. */
  toolNames(): string[];
  /** Where the turn may go. The first is the configured choice; there is always one. */
  targets(): Target[];
}

/** A finished turn. */
export interface Sample extends Asked {
  /** The model that answered. */
  model(): string;
  answerText(): string;
  toolCalls(): ToolCall[];
  /** As the upstream said it: `stop`, `length`, `tool_calls`, … */
  finishReason(): string;
  /** 0 when the upstream does not say; so is `completionTokens`. */
  promptTokens(): number;
  completionTokens(): number;
  /** Skills that were injected. */
  skills(): string[];
  /** Whether token ids and log-probabilities were captured. */
  hasTokens(): boolean;
}

/** A tool that the model wants to have called. The arguments are JSON as the model wrote it: it may be wrong. */
export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

/** The skills that this agent may be given. `skills(catalog)` gives them all. */
export interface Catalog {
  len(): number;
  /** A page of at most 256, by name. */
  list(offset: number, limit: number): Skill[];
  /** The best `k`, at most 64, for these words by the host's own index, best first. */
  search(query: string, k: number): Scored[];
  /** The body of a skill; nothing when there is no such skill. */
  read(name: string): string | null | undefined;
}

/** A skill as the catalog lists it. The scope is `own` or `shared`. */
export interface Skill {
  name: string;
  description: string;
  category: string;
  scope: string;
  tokens: number;
}

/** A skill that a search found; a larger score is better, within one search. */
export interface Scored {
  name: string;
  score: number;
  tokens: number;
}

declare const made: unique symbol;
/** What `to` and `refuse` make. */
export type Decision = { [made]: "decision" };
/** What `allow`, `deny` and `hold` make. */
export type Permission = { [made]: "permission" };
/** What `keep` and `drop` make. */
export type Verdict = { [made]: "verdict" };

/** Ask one of the turn's targets; why, is shown to the operator. */
export function to(target: Target, reason?: string): Decision;
/** Ask nobody; the user is told this. */
export function refuse(message: string): Decision;
/** The client gets the tool call. */
export function allow(): Permission;
/** The client does not get the tool call, and is told why. */
export function deny(message: string): Permission;
/** An operator decides about the tool call. */
export function hold(message: string): Permission;
/** The turn becomes a training sample; 1 is the ordinary weight, 10 the largest. */
export function keep(weight?: number): Verdict;
/** The turn does not become a training sample; why, is shown to the operator. */
export function drop(reason: string): Verdict;
/** All skills, by name. */
export function skills(catalog: Catalog): Generator<Skill>;
/** All messages, the oldest first. */
export function messages(turn: Turn | Sample): Generator<Message>;

/** Thrown by a hook that cannot decide: a short word such as `bad-file`, and a sentence for the operator. */
export class Problem extends Error {
  constructor(code: string, message: string);
  code: string;
}

/** What a policy is. A hook is defined here, exported in policy.js by the name of its interface, and exported in wit/policy.wit. */
export interface Policy<Config extends object> {
  name: string;
  version: string;
  /** One sentence. */
  summary: string;
  /** What the module needs of its operator: words such as `skills:read`, separated by blanks. */
  grants?: string;
  /** The settings that there are, with the value of each that holds when the agent's `config:` does not name it; `null` takes any kind. */
  config?: Config;
  /** What else is wrong with settings of the right names and kinds: sentences. */
  check?(config: Config): string[];
  /** Interface `routing`, exported as `routing`. */
  route?(turn: Turn, config: Config): Decision;
  /** Interface `skill-selection`, exported as `skillSelection`. */
  select?(turn: Turn, catalog: Catalog, config: Config): string[] | { skills: string[]; reason?: string };
  /** Interface `skill-rendering`, exported as `skillRendering`. */
  render?(turn: Turn, catalog: Catalog, skills: string[], config: Config): string;
  /** Interface `tool-gate`, exported as `toolGate`. */
  gate?(turn: Turn, call: ToolCall, config: Config): Permission;
  /** Interface `sample-filter`, exported as `sampleFilter`. */
  filter?(sample: Sample, config: Config): Verdict;
  /** Interface `reward`, exported as `reward`. */
  reward?(sample: Sample, config: Config): number | null;
}

/** What policy.js exports. */
export interface Defined {
  lifecycle: object;
  routing: object;
  skillSelection: object;
  skillRendering: object;
  toolGate: object;
  sampleFilter: object;
  reward: object;
}

export function define<Config extends object>(policy: Policy<Config>): Defined;
