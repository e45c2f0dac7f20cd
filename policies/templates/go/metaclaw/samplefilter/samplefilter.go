// Package samplefilter is the hook `sample-filter`. Importing it exports the hook; `wit/policy.wit` must export it as well.
package samplefilter

import (
	"math"

	"policy/metaclaw"
	"policy/metaclaw/internal/abi"
)

// Verdict is what Keep and Drop make.
type Verdict struct {
	weight float32
	reason string
}

// Keep makes the turn a training sample; 1 is the ordinary weight, 10 the largest.
func Keep(weight float32) Verdict { return Verdict{weight: weight} }

// Drop leaves the turn out; why, is shown to the operator.
func Drop(reason string) Verdict { return Verdict{reason: reason} }

var hook func(sample metaclaw.Sample) (Verdict, error)

// Filter says whether a finished turn becomes a training sample.
func Filter(decide func(sample metaclaw.Sample) (Verdict, error)) { hook = decide }

var answer abi.Answer

//go:wasmexport metaclaw:policy/sample-filter@1.0.0#filter
func export(sample int32) *abi.Answer {
	made, err := ask(metaclaw.Sample(sample))
	metaclaw.Sample(sample).Drop()
	if err != nil {
		return answer.Fail(err)
	}
	if made.weight != 0 {
		return answer.Fill(0, math.Float32bits(made.weight))
	}
	reason := abi.Give(abi.Cut(made.reason))
	return answer.Fill(1, reason.Ptr, reason.Len)
}

//go:wasmexport cabi_post_metaclaw:policy/sample-filter@1.0.0#filter
func after(uint32) { abi.Release() }

func ask(sample metaclaw.Sample) (made Verdict, err error) {
	defer abi.Caught(&err)
	return hook(sample)
}
