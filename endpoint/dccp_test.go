package endpoint

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/kernel"
)

// The kernel's sockets are used where it speaks DCCP, unless the URL says
// otherwise.
func TestKernelDCCP(t *testing.T) {
	here := netip.MustParseAddr("127.0.0.1")
	has := carrier.KernelHasDCCP() && kernel.Supported(false) == nil
	for url, want := range map[string]bool{
		"dccp://127.0.0.1": has, "dtls+dccp://127.0.0.1": has,
		"dccp://127.0.0.1?stack=kernel": true, "dccp://127.0.0.1?stack=raw": false,
		"dccp+udp://127.0.0.1": false, "udp://127.0.0.1": false,
	} {
		if got := KernelDCCP(parse(t, url), here); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}

func TestDCCP_stack(t *testing.T) {
	exporter, _ := creds(t)
	for url, want := range map[string]string{
		"dccp://127.0.0.1?stack=own":              "stack=own is neither kernel nor raw",
		"dccp://127.0.0.1?stack=raw&stack=kernel": "stack=raw,kernel is neither",
		"dccp+udp://127.0.0.1?stack=raw":          `option "stack" means nothing to dccp+udp`,
	} {
		if _, err := Dialer(parse(t, url), Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if kernel.Supported(false) == nil {
		t.Log("this kernel has DCCP: what its sockets do is shown in test/dccp")
		return
	}
	for _, url := range []string{"dccp://127.0.0.1?stack=kernel", "dtls+dccp://127.0.0.1?stack=kernel"} {
		e, cfg := parse(t, url), Config{Credentials: exporter}
		d, err := Dialer(e, cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, dialErr := d.Dial(t.Context())
		_, listenErr := Listen(e, cfg)
		for _, err := range []error{dialErr, listenErr} {
			h, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(h.Error(), "no DCCP sockets") || !strings.Contains(h.Hint(), "modprobe") {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
}

func TestUDPPort(t *testing.T) {
	for url, want := range map[string]uint16{
		"udp://h": 4739, "dtls+udp://h:5": 5, "dccp+udp://h": 6511, "dtls+dccp+udp://h?udp=7": 7, "sctp+udp://h": 9899, "dtls+sctp+udp://h?udp=8": 8,
		"tcp://h": 0, "dccp://h": 0, "sctp://h": 0,
	} {
		if got := UDPPort(parse(t, url)); got != want {
			t.Errorf("%s: %d, want %d", url, got, want)
		}
	}
}
