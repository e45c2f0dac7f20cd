// Package files has the files of this agent's own folders. It needs `import metaclaw:policy/files@1.0.0;` in `wit/policy.wit`, and a grant,
// which metaclaw.Grants names too. The root is `skills`, `shared` or `lora`. Every error is a metaclaw.Problem.
package files

import (
	"structs"

	"policy/metaclaw/internal/abi"
)

// Entry is a `file` or a `folder`; a folder's size is 0.
type Entry struct {
	Name, Kind string
	Size       uint64
}

const chunk = 512 << 10

type entry struct {
	_          structs.HostLayout
	name, kind abi.Str
	size       uint64
}

type stated struct {
	_      structs.HostLayout
	failed uint64
	entry  entry
}

// List gives what is in a folder, by name.
func List(root, path string) ([]Entry, error) {
	var a abi.Answer
	list(root, path, &a)
	if err := a.Err(); err != nil {
		return nil, err
	}
	var all []Entry
	for _, e := range abi.List[entry](abi.Str{Ptr: a[1], Len: a[2]}) {
		all = append(all, Entry{abi.Take(e.name), abi.Take(e.kind), e.size})
	}
	return all, nil
}

// Stat gives what is there.
func Stat(root, path string) (Entry, error) {
	var s stated
	stat(root, path, &s)
	if s.failed&0xFF != 0 {
		return Entry{}, abi.Problem{Code: abi.Take(s.entry.name), Message: abi.Take(s.entry.kind)}
	}
	return Entry{abi.Take(s.entry.name), abi.Take(s.entry.kind), s.entry.size}, nil
}

// Read gives the whole file.
func Read(root, path string) ([]byte, error) {
	var all []byte
	for {
		var a abi.Answer
		read(root, path, uint64(len(all)), chunk, &a)
		if err := a.Err(); err != nil {
			return nil, err
		}
		all = append(all, a.Text(1)...)
		if a[2] < chunk {
			return all, nil
		}
	}
}

// Write puts a file in the place of whatever file is there, whole or not at all.
func Write(root, path, text string) error {
	var a abi.Answer
	write(root, path, text, &a)
	return a.Err()
}

// Remove removes a file, or a folder with nothing in it.
func Remove(root, path string) error {
	var a abi.Answer
	remove(root, path, &a)
	return a.Err()
}

//go:wasmimport metaclaw:policy/files@1.0.0 list
func list(root, path string, answer *abi.Answer)

//go:wasmimport metaclaw:policy/files@1.0.0 stat
func stat(root, path string, answer *stated)

//go:wasmimport metaclaw:policy/files@1.0.0 read
func read(root, path string, offset uint64, length uint32, answer *abi.Answer)

//go:wasmimport metaclaw:policy/files@1.0.0 write
func write(root, path, bytes string, answer *abi.Answer)

//go:wasmimport metaclaw:policy/files@1.0.0 remove
func remove(root, path string, answer *abi.Answer)
