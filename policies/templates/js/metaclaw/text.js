// @ts-check
// UTF-8, and the host's problems as exceptions. An author need not read on.
import { Problem } from "./index.js";

/** One character for each byte. @param {Uint8Array} bytes @returns {string} */
export function characters(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return text;
}

/** @param {string} bytes one character for each @returns {string} */
export function decode(bytes) {
  try {
    return decodeURIComponent(escape(bytes));
  } catch {
    throw new Problem("not-text", "the bytes are no UTF-8");
  }
}

/** @param {string} text @returns {Uint8Array} */
export const encode = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));

/** @template T @param {() => T} ask @returns {T} */
export function asked(ask) {
  try {
    return ask();
  } catch (error) {
    const problem = /** @type {any} */ (error)?.payload;
    if (problem?.code) throw new Problem(problem.code, problem.message);
    throw error;
  }
}
