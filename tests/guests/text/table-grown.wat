;; A table that doubles for as long as it may.
(core module $table
    (table $t 1 funcref)
    (func $f
        (loop (br_if 0 (i32.ge_s (table.grow $t (ref.null func) (table.size $t)) (i32.const 0))))
        unreachable)
    (start $f))
(core instance (instantiate $table))
