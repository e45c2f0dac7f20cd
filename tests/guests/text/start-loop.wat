;; A start function runs when an instance is made, before any call: this one never ends.
(core module $spin (func $f (loop (br 0))) (start $f))
(core instance (instantiate $spin))
