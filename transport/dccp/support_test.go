package dccp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
)

const service ServiceCode = 0x3f495046

var loopback = netip.MustParseAddr("127.0.0.1")

// listenLoopback listens inside UDP on a port of the system's choice.
func listenLoopback(t testing.TB, cfg ListenConfig, services ...ServiceCode) (*Listener, Addr) {
	t.Helper()
	e, err := NewUDPEndpoint(loopback, cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	if len(services) == 0 {
		services = []ServiceCode{service}
	}
	l, err := e.Listen(4739, services, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().(Addr)
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// connect makes a connection and returns both ends.
func connect(t testing.TB, l *Listener, to Addr, cfg Config) (client, server *Conn) {
	t.Helper()
	client, err := Dial(within(t), to, l.services[0], cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Abort() })
	if _, err := client.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if server, err = l.accept(within(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, server, "first")
	return client, server
}

func expect(t testing.TB, c *Conn, want string) {
	t.Helper()
	if got, err := next(c); err != nil || got != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// next reads a message.
func next(c *Conn) (string, error) {
	b := make([]byte, 2000)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := c.Read(b)
	return string(b[:n]), err
}

// wait awaits what comes at once, but for a busy machine.
func wait[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-within(t).Done():
		t.Fatalf("%s never came", what)
	}
	return v
}

// wantReset checks how a connection ended.
func wantReset(t testing.TB, err error, code wire.ResetCode) {
	t.Helper()
	if r, ok := errors.AsType[*ResetError](err); !ok || r.Code != code || !r.Remote {
		t.Errorf("%v, want a reset by the peer: %v", err, code)
	}
}

// datagram is a packet as c's socket sends it.
func datagram(c *Conn, b []byte) []transport.Datagram {
	return []transport.Datagram{{Peer: c.peer, Local: c.from, Data: b}}
}
