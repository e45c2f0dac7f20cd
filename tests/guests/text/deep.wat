;; A function that calls itself so often: a million times, unless something else is put here.
(core module $deep
    (func $f (param $n i32) (result i32)
        (if (result i32) (i32.eqz (local.get $n))
            (then (i32.const 0))
            (else (i32.add (local.get $n) (call $f (i32.sub (local.get $n) (i32.const 1)))))))
    (func $g (drop (call $f (i32.const 1_000_000))))
    (start $g))
(core instance (instantiate $deep))
