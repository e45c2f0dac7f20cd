package metaclaw

import (
	"iter"
	"structs"

	"policy/metaclaw/internal/abi"
)

// Turn is the turn that is to be decided on. It is there during the call only; what is not asked for costs nothing.
type Turn int32

// Target is a place where a turn may be answered. An empty model is the one that the client asks for.
type Target struct{ Upstream, Model string }

// Message is one message of a request; of parts only the text.
type Message struct{ Role, Text string }

type optionalMessage struct {
	_          structs.HostLayout
	some       uint32
	role, text abi.Str
}

type pair struct {
	_             structs.HostLayout
	first, second abi.Str
}

func texts(list abi.Str) []string {
	var all []string
	for _, text := range abi.List[abi.Str](list) {
		all = append(all, abi.Take(text))
	}
	return all
}

// Agent is the agent's id; `_default` when the client named none.
func (t Turn) Agent() string {
	var list abi.Str
	turnAgent(int32(t), &list)
	return abi.Take(list)
}

// Session is the session's id.
func (t Turn) Session() string {
	var list abi.Str
	turnSession(int32(t), &list)
	return abi.Take(list)
}

// Index is how many turns this session has had before.
func (t Turn) Index() uint32 {
	return turnIndex(int32(t))
}

// Kind is `main` or `side`.
func (t Turn) Kind() string {
	var list abi.Str
	turnKind(int32(t), &list)
	return abi.Take(list)
}

// Mode is `skills_only`, `rl` or `auto`.
func (t Turn) Mode() string {
	var list abi.Str
	turnMode(int32(t), &list)
	return abi.Take(list)
}

// ReceivedAt is when the host had the whole request, in milliseconds since 1970.
func (t Turn) ReceivedAt() uint64 {
	return turnReceivedAt(int32(t))
}

// RequestedModel is the model that the client asked for; may be empty.
func (t Turn) RequestedModel() string {
	var list abi.Str
	turnRequestedModel(int32(t), &list)
	return abi.Take(list)
}

// UserText is the user's last words, without what OpenClaw adds around them.
func (t Turn) UserText() string {
	var list abi.Str
	turnUserText(int32(t), &list)
	return abi.Take(list)
}

// BodySize is the size of the request in bytes.
func (t Turn) BodySize() uint64 {
	return turnBodySize(int32(t))
}

// ToolNames are the tools that the client offers.
func (t Turn) ToolNames() []string {
	var list abi.Str
	turnToolNames(int32(t), &list)
	return texts(list)
}

// Messages are the messages of the request, the oldest first.
func (t Turn) Messages() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for i := range turnMessageCount(int32(t)) {
			var found optionalMessage
			turnMessage(int32(t), i, &found)
			if found.some == 0 || !yield(Message{abi.Take(found.role), abi.Take(found.text)}) {
				return
			}
		}
	}
}

// Attr is anything else.
func (t Turn) Attr(name string) (value string, ok bool) {
	var found abi.Option
	turnAttr(int32(t), name, &found)
	return abi.Take(found.Str), found.Some != 0
}

// Drop gives the handle back; the helper does.
func (t Turn) Drop() { turnDrop(int32(t)) }

// Targets are where the turn may go. The first is the configured choice; there is always one.
func (t Turn) Targets() []Target {
	var list abi.Str
	turnTargets(int32(t), &list)
	var all []Target
	for _, one := range abi.List[pair](list) {
		all = append(all, Target{abi.Take(one.first), abi.Take(one.second)})
	}
	return all
}

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.targets
func turnTargets(handle int32, list *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.agent
func turnAgent(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.session
func turnSession(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.index
func turnIndex(handle int32) uint32

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.kind
func turnKind(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.mode
func turnMode(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.received-at
func turnReceivedAt(handle int32) uint64

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.requested-model
func turnRequestedModel(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.user-text
func turnUserText(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.body-size
func turnBodySize(handle int32) uint64

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.tool-names
func turnToolNames(handle int32, text *abi.Str)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.message-count
func turnMessageCount(handle int32) uint32

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.message
func turnMessage(handle int32, index uint32, found *optionalMessage)

//go:wasmimport metaclaw:policy/turn@1.0.0 [method]turn.attr
func turnAttr(handle int32, name string, found *abi.Option)

//go:wasmimport metaclaw:policy/turn@1.0.0 [resource-drop]turn
func turnDrop(handle int32)
