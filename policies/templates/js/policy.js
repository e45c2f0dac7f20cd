// @ts-check
// Long requests go to the last of the agent's targets, all others to the first.
import { define, to } from "./metaclaw/index.js";

export const { lifecycle, routing } = define({
  name: "my-policy",
  version: "0.1.0",
  summary: "Sends long requests to the last of the agent's targets.",

  // The agent's `config:`, and what holds where it says nothing. Other names and types are refused when the module is loaded.
  config: {
    /** From how many bytes on a request is long. */
    long: 8000,
  },
  check: (config) => (config.long < 1 ? ["`long` must be at least 1"] : []),

  route(turn, config) {
    const targets = turn.targets();
    if (turn.bodySize() < config.long) return to(targets[0], "short");
    return to(targets[targets.length - 1], `${config.long} bytes or more`);
  },
});
