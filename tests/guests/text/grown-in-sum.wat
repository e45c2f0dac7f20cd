;; Two memories that are small at first, and grow to 600 pages each when their instances start; that the second does is needed.
(core module $hoarder
    (memory 1)
    (func $f (if (i32.lt_s (memory.grow (i32.const 599)) (i32.const 0)) (then unreachable)))
    (start $f))
(core instance (instantiate $hoarder))
(core instance (instantiate $hoarder))
