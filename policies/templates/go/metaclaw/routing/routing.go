// Package routing is the hook `routing`. Importing it exports the hook; `wit/policy.wit` must export it as well.
package routing

import (
	"policy/metaclaw"
	"policy/metaclaw/internal/abi"
)

// Decision is what To and Refuse make.
type Decision struct {
	target         metaclaw.Target
	reason, refuse string
}

// To asks one of the turn's targets; why, is shown to the operator.
func To(target metaclaw.Target, reason string) Decision {
	return Decision{target: target, reason: reason}
}

// Refuse asks nobody; the user is told this.
func Refuse(message string) Decision { return Decision{refuse: message} }

var hook func(turn metaclaw.Turn) (Decision, error)

// Route says where a turn goes.
func Route(decide func(turn metaclaw.Turn) (Decision, error)) { hook = decide }

var answer abi.Answer

//go:wasmexport metaclaw:policy/routing@1.0.0#route
func export(turn int32) *abi.Answer {
	made, err := ask(metaclaw.Turn(turn))
	metaclaw.Turn(turn).Drop()
	if err != nil {
		return answer.Fail(err)
	}
	if made.refuse != "" {
		message := abi.Give(made.refuse)
		return answer.Fill(1, message.Ptr, message.Len)
	}
	upstream, model, attrs := abi.Give(made.target.Upstream), abi.Give(made.target.Model), abi.Attrs("reason", made.reason)
	return answer.Fill(0, upstream.Ptr, upstream.Len, model.Ptr, model.Len, attrs.Ptr, attrs.Len)
}

//go:wasmexport cabi_post_metaclaw:policy/routing@1.0.0#route
func after(uint32) { abi.Release() }

func ask(turn metaclaw.Turn) (made Decision, err error) {
	defer abi.Caught(&err)
	return hook(turn)
}
