// Package skillrendering is the hook `skill-rendering`. Importing it exports the hook; `wit/policy.wit` must export it as well.
package skillrendering

import (
	"policy/metaclaw"
	"policy/metaclaw/internal/abi"
)

var hook func(turn metaclaw.Turn, catalog metaclaw.Catalog, skills []string) (string, error)

// Render says how chosen skills are laid out in the prompt.
func Render(decide func(turn metaclaw.Turn, catalog metaclaw.Catalog, skills []string) (string, error)) {
	hook = decide
}

var answer abi.Answer

//go:wasmexport metaclaw:policy/skill-rendering@1.0.0#render
func export(turn, catalog int32, skills, count uint32) *abi.Answer {
	made, err := ask(metaclaw.Turn(turn), metaclaw.Catalog(catalog), names(skills, count))
	metaclaw.Turn(turn).Drop()
	metaclaw.Catalog(catalog).Drop()
	if err != nil {
		return answer.Fail(err)
	}
	text := abi.Give(made)
	return answer.Fill(text.Ptr, text.Len)
}

//go:wasmexport cabi_post_metaclaw:policy/skill-rendering@1.0.0#render
func after(uint32) { abi.Release() }

func ask(turn metaclaw.Turn, catalog metaclaw.Catalog, skills []string) (made string, err error) {
	defer abi.Caught(&err)
	return hook(turn, catalog, skills)
}

func names(ptr, count uint32) []string {
	var all []string
	for _, name := range abi.List[abi.Str](abi.Str{Ptr: ptr, Len: count}) {
		all = append(all, abi.Take(name))
	}
	return all
}
