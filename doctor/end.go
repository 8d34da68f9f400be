package doctor

import (
	"errors"

	"ipfixsuite/transport"
)

// Error adds an error with its own hint.
func Error(s *Section, step string, err error) { s.Fail(step, transport.Hint(err), "%v", err) }

// ErrFailed says that something failed.
var ErrFailed = errors.New("something keeps records from arriving: see FAIL")

// End closes a report; that something failed is an error.
func End(r *Report, what string) error {
	well, err := r.Close(what)
	if err == nil && !well {
		err = ErrFailed
	}
	return err
}
