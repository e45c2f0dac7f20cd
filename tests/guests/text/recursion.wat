;; A function that calls itself without end, and holds no more than a return address each time.
(core module $deep (func $f (call $f)) (start $f))
(core instance (instantiate $deep))
