// Package reward is the hook `reward`. Importing it exports the hook; `wit/policy.wit` must export it as well.
package reward

import (
	"math"

	"policy/metaclaw"
	"policy/metaclaw/internal/abi"
)

var hook func(sample metaclaw.Sample) (*float32, error)

// Reward says how good a finished turn was: from -1 to 1, nil when it says nothing.
func Reward(decide func(sample metaclaw.Sample) (*float32, error)) { hook = decide }

var answer abi.Answer

//go:wasmexport metaclaw:policy/reward@1.0.0#reward
func export(sample int32) *abi.Answer {
	made, err := ask(metaclaw.Sample(sample))
	metaclaw.Sample(sample).Drop()
	if err != nil {
		return answer.Fail(err)
	}
	if made == nil {
		return answer.Fill(0)
	}
	return answer.Fill(1, math.Float32bits(*made))
}

//go:wasmexport cabi_post_metaclaw:policy/reward@1.0.0#reward
func after(uint32) { abi.Release() }

func ask(sample metaclaw.Sample) (made *float32, err error) {
	defer abi.Caught(&err)
	return hook(sample)
}
