//go:build linux

package dccp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/kernel"
)

const (
	service dccp.ServiceCode = 0x3f495046
	// patience bounds one step of a test: the guest is slow, more so on a busy host.
	patience = time.Minute
)

// newNetwork is two namespaces, A for us and B for the kernel's DCCP.
func newNetwork(t *testing.T) *harness.Network {
	n := harness.NewNetwork(t)
	n.Up()
	return n
}

// mark keeps A's own kernel from answering for us.
func mark(t *testing.T, n *harness.Network) {
	t.Helper()
	for line := range strings.Lines(carrier.MarkRule("va", carrier.DefaultMark)) {
		n.Run(n.A, strings.TrimSpace(line))
	}
}

// addresses are those of A and B in one IP version.
type addresses struct{ a, b netip.Addr }

var versions = map[string]addresses{
	"ipv4": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
	"ipv6": {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
}

// within bounds one step of a test.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial connects our end in A with a port of B's kernel.
func dial(t *testing.T, n *harness.Network, to netip.AddrPort, s dccp.ServiceCode, cfg dccp.Config) (*dccp.Conn, error) {
	t.Helper()
	var c *dccp.Conn
	var err error
	n.Inside(n.A, func() { c, err = dccp.Dial(within(t), dccp.Addr{IP: to.Addr(), Port: to.Port()}, s, cfg) })
	if err == nil {
		t.Cleanup(func() { c.Abort() })
	}
	return c, err
}

// kernelListen listens in B with the kernel's DCCP.
func kernelListen(t *testing.T, n *harness.Network, at netip.Addr) *kernel.Listener {
	t.Helper()
	var l *kernel.Listener
	var err error
	n.Inside(n.B, func() {
		l, err = kernel.Listen(netip.AddrPortFrom(at, 0), kernel.Config{Services: []dccp.ServiceCode{service}})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.SetDeadline(time.Now().Add(patience))
	return l
}

// kernelDial connects a kernel's end.
func kernelDial(t *testing.T, n *harness.Network, ns string, to netip.AddrPort, s dccp.ServiceCode) (*kernel.Conn, error) {
	t.Helper()
	var c *kernel.Conn
	var err error
	n.Inside(ns, func() {
		c, err = kernel.Dial(within(t), netip.AddrPort{}, to, kernel.Config{Services: []dccp.ServiceCode{s}})
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// listen listens in A with our DCCP.
func listen(t *testing.T, n *harness.Network, at netip.Addr, cfg dccp.ListenConfig) *dccp.Listener {
	t.Helper()
	var l *dccp.Listener
	var err error
	n.Inside(n.A, func() { l, err = dccp.Listen(dccp.Addr{IP: at}, []dccp.ServiceCode{service}, cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Endpoint().Close() })
	l.SetDeadline(time.Now().Add(patience))
	return l
}

// message is the i-th of a test; its length runs through all up to most.
func message(i, most int) []byte {
	b := fmt.Appendf(nil, "message %d ", i)
	for want := len(b) + i*97%max(most-len(b)+1, 1); len(b) < want; {
		b = append(b, byte(i))
	}
	return b
}

// number reads a message's.
func number(b []byte) (i int) {
	if _, err := fmt.Sscanf(string(b[:min(len(b), 30)]), "message %d ", &i); err != nil {
		return -1
	}
	return i
}
