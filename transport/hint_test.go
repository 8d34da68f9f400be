package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"testing"
)

type hinting struct{ error }

func (hinting) Hint() string { return "do this" }

func TestHint(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), ""},
		{fmt.Errorf("with h: %w", hinting{errors.New("x")}), "do this"},
		{fmt.Errorf("with h: %w", &net.OpError{Op: "remote error", Err: tls.AlertError(48)}), AlertHint(48)},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(200)}, ""},
		{&net.OpError{Op: "read", Err: tls.AlertError(48)}, ""},
	} {
		if got := Hint(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
	if AlertHint(48) == "" || AlertHint(200) != "" {
		t.Error(AlertHint(48), AlertHint(200))
	}
}
