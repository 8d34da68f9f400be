package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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

// hinted is met by errors that know a way out, those of other packages too.
type hinted interface {
	error
	Hint() string
}

type hintError struct {
	error
	hint string
}

func (e *hintError) Hint() string  { return e.hint }
func (e *hintError) Unwrap() error { return e.error }

// WithHint adds a way out to an error of what happened.
func WithHint(hint string, err error) error { return &hintError{err, hint} }

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// FileError words an error about a file or directory as `what: why`, with a
// hint where one helps. What names it as the operator did.
func FileError(what string, err error) error {
	why := err
	pe, ok := errors.AsType[*fs.PathError](err)
	if ok {
		why = pe.Err
	}
	err = fmt.Errorf("%s: %w", what, why)
	switch {
	case errors.Is(why, fs.ErrNotExist):
		if pe != nil && filepath.IsAbs(pe.Path) {
			if dir := filepath.Dir(pe.Path); missing(dir) {
				return WithHint("there is no directory "+dir, err)
			}
		} else if dir, e := os.Getwd(); e == nil {
			return WithHint("a relative path begins at the working directory, "+dir, err)
		}
	case errors.Is(why, fs.ErrPermission):
		return WithHint(fmt.Sprintf("this process runs as user %d", os.Geteuid()), err)
	case errors.Is(why, syscall.EISDIR):
		return WithHint("name a file", err)
	}
	return err
}

// Report prints an error as `program: what: why` on one line, then the hint
// if there is one, and returns the exit code that fits.
func Report(w io.Writer, program string, err error) int {
	if err == nil {
		return ExitOK
	}
	// A joined error stays one line: an operator greps for the program's name.
	fmt.Fprintf(w, "%s: %s\n", program, strings.Join(messages(err), "; "))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	if _, ok := errors.AsType[*UsageError](err); ok {
		return ExitUsage
	}
	return ExitRuntime
}

func hintOf(err error) string {
	if u, ok := errors.AsType[*UsageError](err); ok && u.Hint != "" {
		return u.Hint
	}
	if h, ok := errors.AsType[hinted](err); ok {
		return oneLine(h.Hint())
	}
	return ""
}

// messages are the parts of a joined error, each once: what fails in two
// places is one failure.
func messages(err error) []string {
	var all []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = oneLine(line); line != "" && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { // said within another
		return slices.ContainsFunc(all, func(o string) bool { return len(o) > len(s) && strings.Contains(o, s) })
	})
}

// oneLine shows control characters, which a peer or a file may have brought,
// as what they are.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }
