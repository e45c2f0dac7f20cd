// @ts-check
// Files of this agent's own folders. Needs `import metaclaw:policy/files@1.0.0;` in wit/policy.wit, and a grant, which `define` names
// too, as `grants: "skills:read"`. The root is "skills", "shared" or "lora".
import host from "metaclaw:policy/files@1.0.0";
import { asked, characters, decode, encode } from "./text.js";

const CHUNK = 512 * 1024;

/** @typedef {{ name: string, kind: string, size: number }} Entry a `file` or a `folder`, whose size is 0 */

export const files = {
  /** @param {string} root @param {string} [path] @returns {Entry[]} */
  list: (root, path = "") => asked(() => host.list(root, path)),
  /** @param {string} root @param {string} path @returns {Entry} */
  stat: (root, path) => asked(() => host.stat(root, path)),
  /** The whole file as text. @param {string} root @param {string} path @returns {string} */
  read(root, path) {
    let bytes = "";
    for (;;) {
      const part = asked(() => host.read(root, path, bytes.length, CHUNK));
      bytes += characters(part);
      if (part.length < CHUNK) return decode(bytes);
    }
  },
  /** Puts a file in the place of whatever file is there. @param {string} root @param {string} path @param {string} text */
  write: (root, path, text) => asked(() => host.write(root, path, encode(text))),
  /** @param {string} root @param {string} path */
  remove: (root, path) => asked(() => host.remove(root, path)),
};
