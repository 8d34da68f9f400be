package kernel

import (
	"errors"
	"net/netip"
	"testing"
)

// TestWithoutDCCP: a kernel without DCCP is told apart from other trouble. What
// the sockets do where there are some is shown in test/dccp.
func TestWithoutDCCP(t *testing.T) {
	err := Supported(false)
	if err == nil {
		t.Log("this kernel has DCCP sockets")
		return
	}
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v", err)
	}
	to := netip.MustParseAddrPort("127.0.0.1:4739")
	if _, err := Dial(t.Context(), netip.AddrPort{}, to, Config{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if _, err := Listen(to, Config{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v", err)
	}
}
