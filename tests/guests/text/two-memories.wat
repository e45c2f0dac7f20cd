;; Two memories in one module: WebAssembly allows it by now, this host does not.
(core module (memory 1) (memory 1))
