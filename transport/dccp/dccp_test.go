package dccp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
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
	if server, err = l.AcceptConn(); err != nil {
		t.Fatal(err)
	}
	expect(t, server, "first")
	return client, server
}

func expect(t testing.TB, c *Conn, want string) {
	t.Helper()
	b := make([]byte, 2000)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != want {
		t.Fatalf("read %q, %v; want %q", b[:n], err, want)
	}
}

func TestMessagesBothWays(t *testing.T) {
	l, to := listenLoopback(t, ListenConfig{})
	client, server := connect(t, l, to, Config{})
	for i := range 100 {
		fmt.Fprintf(client, "there %d", i)
		expect(t, server, fmt.Sprint("there ", i))
		fmt.Fprintf(server, "back %d", i)
		expect(t, client, fmt.Sprint("back ", i))
	}
	if server.RemoteAddr().String() != client.LocalAddr().String() || client.RemoteAddr().String() != to.String() {
		t.Errorf("addresses: %v %v, %v %v", client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr())
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if n, err := server.Read(nil); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after close: %d, %v", n, err)
	}
	if _, err := client.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if _, err := client.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}
