//go:build linux && !386

package kernel

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport/sctp"
)

// quick notices a dead peer in less than a second.
var quick = sctp.Config{
	RTOInitial: 100 * time.Millisecond, RTOMin: 50 * time.Millisecond, RTOMax: 200 * time.Millisecond,
	MaxRetransmits: 3, PathRetransmits: 2, Heartbeat: 200 * time.Millisecond,
}

// A kernel without SCTP is called that, and what needs none is named.
func testUnsupported(t *testing.T) {
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4739")}
	_, listenErr := Listen(at, sctp.Config{})
	_, dialErr := Dial(t.Context(), nil, at, sctp.Config{})
	for _, err := range []error{listenErr, dialErr} {
		without, ok := errors.AsType[*UnsupportedError](err)
		if !ok || !strings.Contains(err.Error(), "this kernel has no SCTP") || !strings.Contains(err.Error(), "sctp+udp://") {
			t.Fatalf("error %v", err)
		}
		if !strings.Contains(without.Hint(), "+udp") || !strings.Contains(without.Hint(), "modprobe sctp") {
			t.Errorf("hint %q", without.Hint())
		}
	}
}

func TestAddress(t *testing.T) {
	p := netip.MustParseAddrPort
	if _, err := address([]netip.AddrPort{p("192.0.2.1:1"), p("192.0.2.2:2")}); err == nil {
		t.Error("two ports were taken")
	}
	a, err := address([]netip.AddrPort{p("192.0.2.1:4739"), p("[2001:db8::1]:4739")})
	if err != nil || a.String() != "192.0.2.1/[2001:db8::1]:4739" {
		t.Errorf("%v, %v", a, err)
	}
}

func TestKernel(t *testing.T) {
	if !uml.Inside() {
		uml.Job{}.Self(t)
		return
	}
	modprobe := withoutModules(t, func() { t.Run("unsupported", testUnsupported) })
	harness.Run(t, modprobe, "sctp")
	for name, value := range map[string]string{"auth_enable": "1", "cookie_hmac_alg": "sha1"} {
		if err := os.WriteFile("/proc/sys/net/sctp/"+name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"warm", func(t *testing.T) { pair(t, sctp.Config{}, sctp.Config{}) }},
		{"messages", testMessages}, {"long", testLong}, {"ipv6", testIPv6}, {"shutdown", testShutdown}, {"abort", testAbort},
		{"auth", testAuth}, {"cancel", testCancel}, {"full", testFull}, {"allocations", testAllocations},
		{"lifetime", testLifetime}, {"silence", testSilence}, {"addresses", testAddresses}, {"refused", testRefused}, {"late", testLate}, {"options", testOptions},
	} {
		before := descriptors(t)
		t.Run(c.name, c.test)
		if after := descriptors(t); after > before && c.name != "warm" {
			t.Errorf("%s: %d descriptors, %d before", c.name, after, before)
		}
	}
}

// withoutModules keeps the guest's kernel from loading any while f runs.
func withoutModules(t *testing.T, f func()) (modprobe string) {
	t.Helper()
	const loader = "/proc/sys/kernel/modprobe"
	was, err := os.ReadFile(loader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value []byte) {
		if err := os.WriteFile(loader, value, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set([]byte("/none"))
	f()
	set(was)
	return strings.TrimSpace(string(was))
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
