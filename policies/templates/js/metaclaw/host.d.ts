// What the host offers, for editors: the modules are there when the policy is built.
declare module "metaclaw:policy/settings@1.0.0" {
  const settings: { get(): string };
  export default settings;
}
declare module "metaclaw:policy/log@1.0.0" {
  const log: { write(level: string, message: string): void };
  export default log;
}
declare module "metaclaw:policy/kv@1.0.0" {
  const kv: {
    get(key: string): Uint8Array | null;
    set(key: string, value: Uint8Array): void;
    delete(key: string): void;
    keys(prefix: string): string[];
  };
  export default kv;
}
declare module "metaclaw:policy/files@1.0.0" {
  interface Entry {
    name: string;
    kind: string;
    size: number;
  }
  const files: {
    list(root: string, path: string): Entry[];
    stat(root: string, path: string): Entry;
    read(root: string, path: string, offset: number, len: number): Uint8Array;
    write(root: string, path: string, bytes: Uint8Array): void;
    remove(root: string, path: string): void;
  };
  export default files;
}
