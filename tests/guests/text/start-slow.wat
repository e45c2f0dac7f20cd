;; A start function that takes some ten milliseconds: little for a module that is tried out, and too much for a turn that has less.
(core module $slow
    (func $f (local $n i32)
        (local.set $n (i32.const 50_000_000))
        (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (start $f))
(core instance (instantiate $slow))
