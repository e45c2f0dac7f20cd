// Package toolgate is the hook `tool-gate`. Importing it exports the hook; `wit/policy.wit` must export it as well.
package toolgate

import (
	"policy/metaclaw"
	"policy/metaclaw/internal/abi"
)

// Permission is what Allow, Deny and Hold make.
type Permission struct {
	kind    uint32
	message string
}

// Allow lets the client have the call.
func Allow() Permission { return Permission{} }

// Deny keeps the call from the client, who is told why.
func Deny(message string) Permission { return Permission{1, message} }

// Hold lets an operator decide.
func Hold(message string) Permission { return Permission{2, message} }

var hook func(turn metaclaw.Turn, call metaclaw.ToolCall) (Permission, error)

// Gate says whether the client gets a tool call.
func Gate(decide func(turn metaclaw.Turn, call metaclaw.ToolCall) (Permission, error)) { hook = decide }

var answer abi.Answer

//go:wasmexport metaclaw:policy/tool-gate@1.0.0#gate
func export(turn int32, id, idLen, name, nameLen, arguments, argumentsLen uint32) *abi.Answer {
	made, err := ask(metaclaw.Turn(turn), metaclaw.ToolCall{ID: text(id, idLen), Name: text(name, nameLen), Arguments: text(arguments, argumentsLen)})
	metaclaw.Turn(turn).Drop()
	if err != nil {
		return answer.Fail(err)
	}
	message := abi.Give(made.message)
	return answer.Fill(made.kind, message.Ptr, message.Len)
}

//go:wasmexport cabi_post_metaclaw:policy/tool-gate@1.0.0#gate
func after(uint32) { abi.Release() }

func ask(turn metaclaw.Turn, call metaclaw.ToolCall) (made Permission, err error) {
	defer abi.Caught(&err)
	return hook(turn, call)
}

func text(ptr, length uint32) string { return abi.Take(abi.Str{Ptr: ptr, Len: length}) }
