package transport

import "errors"

// Hint is the way out that an error knows, which may be wrapped; empty: it knows
// none.
func Hint(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}
