//go:build linux

package dccp

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport/dccp/kernel"
	"ipfixsuite/transport/dccp/wire"
)

// kernelSockets holds package kernel against itself: both ends are sockets of
// the kernel's.
func kernelSockets(t *testing.T, n *harness.Network, ip netip.Addr) {
	var l *kernel.Listener
	var err error
	n.Inside(n.B, func() {
		l, err = kernel.Listen(netip.AddrPortFrom(ip, 4739), kernel.Config{Services: []wire.ServiceCode{7, 8}})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetDeadline(time.Now().Add(patience))
	for _, s := range []wire.ServiceCode{7, 8} {
		var c *kernel.Conn
		n.Inside(n.A, func() {
			c, err = kernel.Dial(within(t), netip.AddrPort{}, l.AddrPort(), kernel.Config{Services: []wire.ServiceCode{s}})
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.AcceptConn()
		if err != nil {
			t.Fatal(err)
		}
		if got.ServiceCode() != s {
			t.Errorf("service code %v, want %v", got.ServiceCode(), s)
		}
		if c.MPS() < 1300 || c.MPS() > 1500 {
			t.Errorf("MPS %d", c.MPS())
		}
		if _, err := c.Write(make([]byte, c.MPS()+1)); !errors.Is(err, kernel.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		// More than the queue holds, less than the receiver's buffer.
		const messages = 80
		sent := make(chan error, 1)
		go func() {
			for i := range messages {
				if _, err := fmt.Fprintf(c, "message %d", i); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		b := make([]byte, 2000)
		got.SetReadDeadline(time.Now().Add(patience))
		for i := range messages {
			n, err := got.Read(b)
			if want := fmt.Sprint("message ", i); err != nil || string(b[:n]) != want {
				t.Fatalf("%q, %v; want %q", b[:n], err, want)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		c.Close()
		if n, err := got.Read(b); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after close: %d, %v", n, err)
		}
		got.Close()
	}
	n.Inside(n.A, func() {
		_, err = kernel.Dial(within(t), netip.AddrPort{}, l.AddrPort(), kernel.Config{Services: []wire.ServiceCode{9}})
	})
	if err == nil {
		t.Error("connected for another service")
	}
}
