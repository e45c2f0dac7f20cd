// @ts-check
// Words for the operator. Needs `import metaclaw:policy/log@1.0.0;` in wit/policy.wit, and the grant `log: SIZE`.
import host from "metaclaw:policy/log@1.0.0";

/** @param {unknown} message @param {"debug" | "info" | "warn" | "error"} [level] */
export const log = (message, level = "info") => host.write(level, String(message));
