// Package skillselection is the hook `skill-selection`. Importing it exports the hook; `wit/policy.wit` must export it as well.
package skillselection

import (
	"policy/metaclaw"
	"policy/metaclaw/internal/abi"
)

// Selection has names of skills in the catalog, in the order in which the prompt gets them; why, is shown to the operator.
type Selection struct {
	Skills []string
	Reason string
}

var hook func(turn metaclaw.Turn, catalog metaclaw.Catalog) (Selection, error)

// Select says which skills a prompt gets.
func Select(decide func(turn metaclaw.Turn, catalog metaclaw.Catalog) (Selection, error)) {
	hook = decide
}

var answer abi.Answer

//go:wasmexport metaclaw:policy/skill-selection@1.0.0#select
func export(turn, catalog int32) *abi.Answer {
	made, err := ask(metaclaw.Turn(turn), metaclaw.Catalog(catalog))
	metaclaw.Turn(turn).Drop()
	metaclaw.Catalog(catalog).Drop()
	if err != nil {
		return answer.Fail(err)
	}
	names := make([]abi.Str, 0, len(made.Skills))
	for _, name := range made.Skills {
		names = append(names, abi.Give(name))
	}
	list, attrs := abi.GiveList(names), abi.Attrs("reason", made.Reason)
	return answer.Fill(list.Ptr, list.Len, attrs.Ptr, attrs.Len)
}

//go:wasmexport cabi_post_metaclaw:policy/skill-selection@1.0.0#select
func after(uint32) { abi.Release() }

func ask(turn metaclaw.Turn, catalog metaclaw.Catalog) (made Selection, err error) {
	defer abi.Caught(&err)
	return hook(turn, catalog)
}
