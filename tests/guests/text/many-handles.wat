;; A resource of its own, of which it makes as many as it can.
(type $thing (resource (rep i32)))
(core func $new (canon resource.new $thing))
(core module $makes
    (import "" "new" (func $new (param i32) (result i32)))
    (func $f (loop (drop (call $new (i32.const 0))) (br 0)))
    (start $f))
(core instance (instantiate $makes (with "" (instance (export "new" (func $new))))))
