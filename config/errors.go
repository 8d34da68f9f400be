package config

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit codes of both programs.
const (
	ExitOK      = 0
	ExitRuntime = 1
	ExitUsage   = 2
)

// UsageError is a fault in what the operator wrote, not in what happened.
type UsageError struct {
	Err  error
	Hint string
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usage makes a UsageError with a hint, which may be empty.
func Usage(hint, format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...), Hint: hint}
}

// hinted is met by errors of other packages that know a way out.
type hinted interface {
	error
	Hint() string
}

// Report prints an error as `program: what: why` on one line, then the hint
// if there is one, and returns the exit code that fits.
func Report(w io.Writer, program string, err error) int {
	if err == nil {
		return ExitOK
	}
	// A joined error stays one line: an operator greps for the program's name.
	msg := strings.ReplaceAll(err.Error(), "\n", "; ")
	fmt.Fprintf(w, "%s: %s\n", program, msg)
	usage, isUsage := errors.AsType[*UsageError](err)
	hint := ""
	if isUsage {
		hint = usage.Hint
	}
	if h, ok := errors.AsType[hinted](err); ok && hint == "" {
		hint = h.Hint()
	}
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	if isUsage {
		return ExitUsage
	}
	return ExitRuntime
}
