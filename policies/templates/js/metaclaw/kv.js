// @ts-check
// Values that are kept from call to call. Needs `import metaclaw:policy/kv@1.0.0;` in wit/policy.wit, and the grant `kv: SIZE`.
import host from "metaclaw:policy/kv@1.0.0";
import { asked, characters, decode, encode } from "./text.js";

export const kv = {
  /** @param {string} key @returns {string | null} */
  get(key) {
    const bytes = asked(() => host.get(key));
    return bytes ? decode(characters(bytes)) : null;
  },
  /** @param {string} key @param {string} value */
  set: (key, value) => asked(() => host.set(key, encode(value))),
  /** @param {string} key */
  delete: (key) => asked(() => host.delete(key)),
  /** @param {string} [prefix] @returns {string[]} */
  keys: (prefix = "") => asked(() => host.keys(prefix)),
};
