// Long requests go to the last of the agent's targets, all others to the first.
package main

import (
	"errors"

	"policy/metaclaw"
	"policy/metaclaw/routing"
)

// Config is the agent's `config:`. What does not fit these names and types is refused when the module is loaded.
type Config struct {
	Long uint64 `json:"long"` // From how many bytes on a request is long.
}

func check(c Config) error {
	if c.Long < 1 {
		return errors.New("`long` must be at least 1")
	}
	return nil
}

func init() {
	config := metaclaw.Describe("my-policy", "0.1.0", "Sends long requests to the last of the agent's targets.", Config{Long: 8000}, check)

	routing.Route(func(turn metaclaw.Turn) (routing.Decision, error) {
		targets := turn.Targets()
		if turn.BodySize() < config().Long {
			return routing.To(targets[0], "short"), nil
		}
		return routing.To(targets[len(targets)-1], "long"), nil
	})
}

func main() {}
