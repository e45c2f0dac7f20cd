package metaclaw

import (
	"iter"
	"structs"

	"policy/metaclaw/internal/abi"
)

// Sample is a finished turn.
type Sample int32

// ToolCall is a tool that the model wants to have called. The arguments are JSON as the model wrote it: it may be wrong.
type ToolCall struct{ ID, Name, Arguments string }

type toolCall struct {
	_                   structs.HostLayout
	id, name, arguments abi.Str
}

// Agent is the agent's id.
func (s Sample) Agent() string {
	var list abi.Str
	sampleAgent(int32(s), &list)
	return abi.Take(list)
}

// Session is the session's id.
func (s Sample) Session() string {
	var list abi.Str
	sampleSession(int32(s), &list)
	return abi.Take(list)
}

// ReceivedAt is when the host had the whole request, in milliseconds since 1970.
func (s Sample) ReceivedAt() uint64 {
	return sampleReceivedAt(int32(s))
}

// Model is the model that answered.
func (s Sample) Model() string {
	var list abi.Str
	sampleModel(int32(s), &list)
	return abi.Take(list)
}

// UserText is the user's last words.
func (s Sample) UserText() string {
	var list abi.Str
	sampleUserText(int32(s), &list)
	return abi.Take(list)
}

// AnswerText is the assistant's words.
func (s Sample) AnswerText() string {
	var list abi.Str
	sampleAnswerText(int32(s), &list)
	return abi.Take(list)
}

// FinishReason is as the upstream said it.
func (s Sample) FinishReason() string {
	var list abi.Str
	sampleFinishReason(int32(s), &list)
	return abi.Take(list)
}

// PromptTokens is 0 when the upstream does not say.
func (s Sample) PromptTokens() uint64 {
	return samplePromptTokens(int32(s))
}

// CompletionTokens is 0 when the upstream does not say.
func (s Sample) CompletionTokens() uint64 {
	return sampleCompletionTokens(int32(s))
}

// Skills are the names of the skills that were injected.
func (s Sample) Skills() []string {
	var list abi.Str
	sampleSkills(int32(s), &list)
	return texts(list)
}

// HasTokens says whether token ids and log-probabilities were captured.
func (s Sample) HasTokens() bool {
	return sampleHasTokens(int32(s)) != 0
}

// Messages are the messages of the request, the oldest first.
func (s Sample) Messages() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for i := range sampleMessageCount(int32(s)) {
			var found optionalMessage
			sampleMessage(int32(s), i, &found)
			if found.some == 0 || !yield(Message{abi.Take(found.role), abi.Take(found.text)}) {
				return
			}
		}
	}
}

// Attr is anything else.
func (s Sample) Attr(name string) (value string, ok bool) {
	var found abi.Option
	sampleAttr(int32(s), name, &found)
	return abi.Take(found.Str), found.Some != 0
}

// Drop gives the handle back; the helper does.
func (s Sample) Drop() { sampleDrop(int32(s)) }

// ToolCalls are the tools that the answer calls.
func (s Sample) ToolCalls() []ToolCall {
	var list abi.Str
	sampleToolCalls(int32(s), &list)
	var all []ToolCall
	for _, c := range abi.List[toolCall](list) {
		all = append(all, ToolCall{abi.Take(c.id), abi.Take(c.name), abi.Take(c.arguments)})
	}
	return all
}

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.tool-calls
func sampleToolCalls(handle int32, list *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.agent
func sampleAgent(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.session
func sampleSession(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.received-at
func sampleReceivedAt(handle int32) uint64

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.model
func sampleModel(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.user-text
func sampleUserText(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.answer-text
func sampleAnswerText(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.finish-reason
func sampleFinishReason(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.prompt-tokens
func samplePromptTokens(handle int32) uint64

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.completion-tokens
func sampleCompletionTokens(handle int32) uint64

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.skills
func sampleSkills(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.has-tokens
func sampleHasTokens(handle int32) uint32

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.message-count
func sampleMessageCount(handle int32) uint32

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.message
func sampleMessage(handle int32, index uint32, found *optionalMessage)

//go:wasmimport metaclaw:policy/sample@1.0.0 [method]sample.attr
func sampleAttr(handle int32, name string, found *abi.Option)

//go:wasmimport metaclaw:policy/sample@1.0.0 [resource-drop]sample
func sampleDrop(handle int32)
