// Package abi passes texts and lists over the component's border. An author need not read on.
package abi

import (
	"fmt"
	"structs"
	"unsafe"
)

// Str is a text, or any list, as both sides have it in memory.
type Str struct {
	_   structs.HostLayout
	Ptr uint32
	Len uint32
}

// Option is a text that may be missing.
type Option struct {
	_    structs.HostLayout
	Some uint32
	Str  Str
}

// What one call needs must outlive it, until the host has read the answer.
var kept []any

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size int32) unsafe.Pointer {
	block := make([]uint64, size/8+1)
	kept = append(kept, block)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&block[0])), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return unsafe.Pointer(&block[0])
}

// Release forgets what a call needed.
func Release() { kept = kept[:0] }

// Give lends a text to the host until the call is over.
func Give(text string) Str {
	kept = append(kept, text)
	return Str{Ptr: uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), Len: uint32(len(text))}
}

// Take is a text of the host's.
func Take(s Str) string {
	if s.Len == 0 {
		return ""
	}
	return unsafe.String((*byte)(unsafe.Pointer(uintptr(s.Ptr))), s.Len)
}

// List is a list of the host's.
func List[T any](s Str) []T {
	if s.Len == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(uintptr(s.Ptr))), s.Len)
}

// GiveList lends a list to the host until the call is over.
func GiveList[T any](list []T) Str {
	if len(list) == 0 {
		return Str{Ptr: 4}
	}
	kept = append(kept, list)
	return Str{Ptr: uint32(uintptr(unsafe.Pointer(&list[0]))), Len: uint32(len(list))}
}

// Attrs is the list of attributes with one of them, or none if it has no value.
func Attrs(name, value string) Str {
	if value == "" {
		return GiveList[Str](nil)
	}
	pair := GiveList([]Str{Give(name), Give(Cut(value))})
	return Str{Ptr: pair.Ptr, Len: 1}
}

// Cut is at most 1 KiB of a text, without a broken character at its end.
func Cut(text string) string {
	if len(text) <= 1024 {
		return text
	}
	end := 1021
	for end < 1024 && text[end]&0xC0 == 0x80 {
		end++
	}
	for text[end]&0xC0 == 0x80 {
		end--
	}
	return text[:end]
}

// Answer is a hook's result in memory: whether it failed, then the words of the one or the other.
type Answer [8]uint32

// Fill writes words behind the first, which says that it did not fail.
func (a *Answer) Fill(words ...uint32) *Answer {
	*a = Answer{}
	copy(a[1:], words)
	return a
}

// Problem is why a hook cannot decide.
type Problem struct{ Code, Message string }

func (p Problem) Error() string { return p.Message }

// Fail writes an error as a problem.
func (a *Answer) Fail(err error) *Answer {
	p, ok := err.(Problem)
	if !ok {
		p = Problem{"exception", err.Error()}
	}
	code, message := Give(Cut(p.Code)), Give(Cut(p.Message))
	*a = Answer{1, code.Ptr, code.Len, message.Ptr, message.Len}
	return a
}

// Text is the text whose pointer and length are at this word.
func (a *Answer) Text(at int) string { return Take(Str{Ptr: a[at], Len: a[at+1]}) }

// Problem is why the host did not do it.
func (a *Answer) Problem() error { return Problem{a.Text(1), a.Text(3)} }

// Err is its problem, if the host did not do it.
func (a *Answer) Err() error {
	if a[0]&0xFF == 0 {
		return nil
	}
	return a.Problem()
}

// Caught turns a panic into an error: a trap would say nothing to the operator.
func Caught(err *error) {
	if reason := recover(); reason != nil {
		*err = Problem{"exception", fmt.Sprint(reason)}
	}
}
