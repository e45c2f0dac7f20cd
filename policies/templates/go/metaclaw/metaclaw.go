// Package metaclaw is the contract `metaclaw:policy@1.0.0` as Go has it.
//
// A policy calls [Describe] and, for each hook that it has, the function of the package of that name: routing.Route, skillselection.Select,
// skillrendering.Render, toolgate.Gate, samplefilter.Filter, reward.Reward. Importing such a package is exporting the hook, so that
// `wit/policy.wit` must export it as well. The packages kv, files and log likewise need an import there, and a grant of the operator's.
//
// A hook that cannot decide returns an error, best a [Problem]; the operator's rule (`policy.on_failure`) decides then, as after a panic.
package metaclaw

import (
	"bytes"
	"encoding/json"
	"strings"

	"policy/metaclaw/internal/abi"
)

// Problem is why a hook cannot decide: a short word such as `bad-file`, and a sentence for the operator.
type Problem = abi.Problem

var (
	described [4]abi.Str
	problems  [1]abi.Str
	name      = [3]string{"unnamed", "0.0.0", "Nobody has called metaclaw.Describe."}
	grants    string
	validate  func(text string) error
)

// Grants says what the module needs of its operator, in words such as `skills:read`.
func Grants(words ...string) { grants = strings.Join(words, " ") }

// Describe says what the module is, and what its settings are where the agent's `config:` does not name them. `check` may be nil; it says
// what else is wrong with settings. The function that it returns gives this agent's settings.
func Describe[Config any](named, version, summary string, defaults Config, check func(Config) error) func() Config {
	name = [3]string{named, version, summary}
	read := func(text string) (Config, error) {
		config := defaults
		from := json.NewDecoder(bytes.NewReader([]byte(text)))
		from.DisallowUnknownFields()
		err := from.Decode(&config)
		if err == nil && check != nil {
			err = check(config)
		}
		return config, err
	}
	validate = func(text string) error {
		_, err := read(text)
		return err
	}
	var config *Config
	return func() Config {
		if config == nil {
			var text abi.Str
			settings(&text)
			given, err := read(abi.Take(text))
			if err != nil {
				panic(err)
			}
			config = &given
		}
		return *config
	}
}

//go:wasmexport metaclaw:policy/lifecycle@1.0.0#describe
func describe() *[4]abi.Str {
	described = [4]abi.Str{abi.Give(name[0]), abi.Give(name[1]), abi.Give(name[2]), abi.Attrs("grants", grants)}
	return &described
}

//go:wasmexport metaclaw:policy/lifecycle@1.0.0#validate-config
func validateConfig(ptr, length uint32) *[1]abi.Str {
	var wrong []abi.Str
	for _, message := range found(abi.Take(abi.Str{Ptr: ptr, Len: length})) {
		wrong = append(wrong, abi.Give("bad-config"), abi.Give(abi.Cut(message)))
	}
	problems[0] = abi.GiveList(wrong)
	problems[0].Len /= 2
	return &problems
}

// What is wrong with settings; errors.Join joins several.
func found(text string) []string {
	if validate == nil {
		return []string{name[2]}
	}
	err := validate(text)
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, one := range joined.Unwrap() {
			all = append(all, one.Error())
		}
		return all
	}
	return []string{err.Error()}
}

//go:wasmexport cabi_post_metaclaw:policy/lifecycle@1.0.0#describe
func afterDescribe(uint32) { abi.Release() }

//go:wasmexport cabi_post_metaclaw:policy/lifecycle@1.0.0#validate-config
func afterValidate(uint32) { abi.Release() }

//go:wasmimport metaclaw:policy/settings@1.0.0 get
func settings(text *abi.Str)
