//go:build !linux || 386

package kernel

import (
	"context"
	"errors"
	"net/netip"

	"ipfixsuite/transport/sctp"
)

var errSystem = errors.New("only Linux has it here")

// Dial fails: this system's SCTP is not known here.
func Dial(context.Context, []netip.AddrPort, []netip.AddrPort, sctp.Config) (sctp.Association, error) {
	return nil, &UnsupportedError{errSystem}
}

// Listen fails: this system's SCTP is not known here.
func Listen([]netip.AddrPort, sctp.Config) (sctp.Acceptor, error) {
	return nil, &UnsupportedError{errSystem}
}
