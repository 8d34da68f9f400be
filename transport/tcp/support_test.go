package tcp

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/transporttest"
)

func message(n, number int) []byte { return transporttest.Message(n, number) }

func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	return transporttest.Wait(t, c, what)
}

// serving is a Listener at work.
type serving struct {
	transport.Listener
	*transporttest.Sink
	stop context.CancelFunc
	over chan error
}

func serve(t testing.TB, cfg Config) *serving {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", cfg, transporttest.NewSink())
}

func serveAt(t testing.TB, addr string, cfg Config, k *transporttest.Sink) *serving {
	t.Helper()
	l, err := Listen(netip.MustParseAddrPort(addr), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &serving{Listener: l, Sink: k, stop: stop, over: make(chan error, 1)}
	go func() { s.over <- l.Serve(ctx, k) }() // ended by stop
	t.Cleanup(func() {
		stop()
		select {
		case err := <-s.over:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve does not end")
		}
	})
	return s
}

// end stops the listener and waits.
func (s *serving) end(t testing.TB) {
	t.Helper()
	s.stop()
	s.over <- wait(t, s.over, "end of Serve")
}

func dial(t testing.TB, d *Dialer) transport.Session {
	t.Helper()
	s, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Close(ctx)
	})
	return s
}

func send(t testing.TB, s transport.Session, batch ...[]byte) {
	t.Helper()
	out := make([]transport.Outgoing, len(batch))
	for i, m := range batch {
		out[i].Data = m
	}
	transporttest.Send(t, s, out...)
}

// authority has certificates for both ends.
type authority struct{ transporttest.Authority }

func newAuthority(t testing.TB) authority {
	t.Helper()
	return authority{transporttest.NewAuthority(t)}
}

func (a authority) dialer(t testing.TB, to netip.AddrPort) *Dialer {
	return &Dialer{Remote: to, Config: Config{Credentials: a.Credentials(t, "exporter"), ServerName: "collector"}}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// connect is a peer that writes octets, not messages.
func connect(t testing.TB, l *serving) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	return c
}
