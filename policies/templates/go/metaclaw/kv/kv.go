// Package kv has values that are kept from call to call. It needs `import metaclaw:policy/kv@1.0.0;` in `wit/policy.wit`, and the grant
// `kv: SIZE`. Every error is a metaclaw.Problem.
package kv

import "policy/metaclaw/internal/abi"

// Get gives the value of a key; `ok` says whether there is one.
func Get(key string) (value string, ok bool, err error) {
	var a abi.Answer
	get(key, &a)
	if a[0]&0xFF != 0 {
		return "", false, a.Problem()
	}
	return a.Text(2), a[1]&0xFF != 0, nil
}

// Set keeps a value.
func Set(key, value string) error {
	var a abi.Answer
	set(key, value, &a)
	return a.Err()
}

// Delete forgets a value; that there is none is no error.
func Delete(key string) error {
	var a abi.Answer
	del(key, &a)
	return a.Err()
}

// Keys gives the keys that begin so, in order.
func Keys(prefix string) ([]string, error) {
	var a abi.Answer
	keys(prefix, &a)
	if err := a.Err(); err != nil {
		return nil, err
	}
	var all []string
	for _, key := range abi.List[abi.Str](abi.Str{Ptr: a[1], Len: a[2]}) {
		all = append(all, abi.Take(key))
	}
	return all, nil
}

//go:wasmimport metaclaw:policy/kv@1.0.0 get
func get(key string, answer *abi.Answer)

//go:wasmimport metaclaw:policy/kv@1.0.0 set
func set(key, value string, answer *abi.Answer)

//go:wasmimport metaclaw:policy/kv@1.0.0 delete
func del(key string, answer *abi.Answer)

//go:wasmimport metaclaw:policy/kv@1.0.0 keys
func keys(prefix string, answer *abi.Answer)
