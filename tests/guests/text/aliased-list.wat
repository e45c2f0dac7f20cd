;; Selects ten thousand skills whose names are one and the same text of 10 kB: 90 kB in here, 100 MB in a host that copies them.
(component
    (import "metaclaw:policy/turn@0.1.0" (instance $turns (export "turn" (type (sub resource)))))
    (alias export $turns "turn" (type $turn))
    (import "metaclaw:policy/catalog@0.1.0" (instance $catalogs (export "catalog" (type (sub resource)))))
    (alias export $catalogs "catalog" (type $catalog))
    (core func $drop-turn (canon resource.drop $turn))
    (core func $drop-catalog (canon resource.drop $catalog))

    (core module $m
        (import "" "turn" (func $drop-turn (param i32)))
        (import "" "catalog" (func $drop-catalog (param i32)))
        (memory (export "memory") 3)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "describe") (result i32) i32.const 64)
        (func (export "validate") (param i32 i32) (result i32) i32.const 64)
        (func (export "select") (param i32 i32) (result i32) (local $n i32)
            (call $drop-turn (local.get 0))
            (call $drop-catalog (local.get 1))
            ;; The name is at 16384; its ten thousand pointers and lengths are at 65536.
            (memory.fill (i32.const 16384) (i32.const 0x78) (i32.const 10000))
            (loop
                (i32.store (i32.add (i32.const 65536) (i32.shl (local.get $n) (i32.const 3))) (i32.const 16384))
                (i32.store (i32.add (i32.const 65540) (i32.shl (local.get $n) (i32.const 3))) (i32.const 10000))
                (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000))))
            (i32.store (i32.const 164) (i32.const 65536))
            (i32.store (i32.const 168) (i32.const 10000))
            i32.const 160))
    (core instance $i (instantiate $m (with "" (instance
        (export "turn" (func $drop-turn)) (export "catalog" (func $drop-catalog))))))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))

    (type $text-pairs (list (tuple string string)))
    (type $description-record
        (record (field "name" string) (field "version" string) (field "summary" string) (field "attrs" $text-pairs)))
    (export $description "description" (type $description-record))
    (type $problem-record (record (field "code" string) (field "message" string)))
    (export $problem "problem" (type $problem-record))

    (func $describe (result $description)
        (canon lift (core func $i "describe") (memory $memory) (realloc $realloc)))
    (func $validate (param "json" string) (result (list $problem))
        (canon lift (core func $i "validate") (memory $memory) (realloc $realloc)))
    (instance $lifecycle (export "describe" (func $describe)) (export "validate-config" (func $validate)))
    (export "metaclaw:policy/lifecycle@0.1.0" (instance $lifecycle))

    (func $select (param "turn" (borrow $turn)) (param "catalog" (borrow $catalog))
        (result (result (list string) (error $problem)))
        (canon lift (core func $i "select") (memory $memory) (realloc $realloc)))
    (instance $skill-selection (export "select" (func $select)))
    (export "metaclaw:policy/skill-selection@0.1.0" (instance $skill-selection))
)
