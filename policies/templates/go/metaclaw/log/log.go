// Package log has words for the operator. It needs `import metaclaw:policy/log@1.0.0;` in `wit/policy.wit`, and the grant `log: SIZE`.
package log

import "fmt"

// Printf writes a line of level `info`.
func Printf(format string, values ...any) { write("info", fmt.Sprintf(format, values...)) }

// Warnf writes a line of level `warn`.
func Warnf(format string, values ...any) { write("warn", fmt.Sprintf(format, values...)) }

//go:wasmimport metaclaw:policy/log@1.0.0 write
func write(level, message string)
