;; A whole policy, and a harmless one: a `sample-filter` that keeps every sample. What other functions return are pointers to zeros, which
;; are empty texts and lists. It is the end of most other guests here, which spoil it.
(import "metaclaw:policy/sample@0.1.0" (instance $samples (export "sample" (type (sub resource)))))
(alias export $samples "sample" (type $sample))
(core func $drop (canon resource.drop $sample))

(core module $m
    (import "" "drop" (func $drop (param i32)))
    (memory (export "memory") 1)
    ;; A good verdict: keep, with a weight of 1.
    (data (i32.const 168) "\00\00\80\3f")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
    (func (export "describe") (result i32) i32.const 64)
    (func (export "validate") (param i32 i32) (result i32) i32.const 64)
    (func (export "filter") (param i32) (result i32) (call $drop (local.get 0)) i32.const 160))
(core instance $i (instantiate $m (with "" (instance (export "drop" (func $drop))))))
(alias core export $i "memory" (core memory $memory))
(alias core export $i "realloc" (core func $realloc))

(type $text-pairs (list (tuple string string)))
(type $description-record
    (record (field "name" string) (field "version" string) (field "summary" string) (field "attrs" $text-pairs)))
(export $description "description" (type $description-record))
(type $problem-record (record (field "code" string) (field "message" string)))
(export $problem "problem" (type $problem-record))
(type $verdict-variant (variant (case "keep" f32) (case "drop" string)))
(export $verdict "verdict" (type $verdict-variant))

(func $describe (result $description)
    (canon lift (core func $i "describe") (memory $memory) (realloc $realloc)))
(func $validate (param "json" string) (result (list $problem))
    (canon lift (core func $i "validate") (memory $memory) (realloc $realloc)))
(instance $lifecycle (export "describe" (func $describe)) (export "validate-config" (func $validate)))
(export "metaclaw:policy/lifecycle@0.1.0" (instance $lifecycle))

(func $filter (param "sample" (borrow $sample)) (result (result $verdict (error $problem)))
    (canon lift (core func $i "filter") (memory $memory) (realloc $realloc)))
(instance $sample-filter (export "filter" (func $filter)))
(export "metaclaw:policy/sample-filter@0.1.0" (instance $sample-filter))
