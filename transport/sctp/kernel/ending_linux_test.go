//go:build linux && !386

package kernel

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// The side that is told of a shutdown has everything that was sent before
// (RFC 9260, Section 9.2).
func testShutdown(t *testing.T) {
	c, s := pair(t, sctp.Config{}, sctp.Config{})
	big := bytes.Repeat([]byte("x"), 60000)
	c.send(t, sctp.Message{Data: big}, sctp.Message{Stream: 1, Data: big})
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := s.next(t, sctp.EventMessage); len(got.Message.Data) != len(big) {
			t.Errorf("%d octets", len(got.Message.Data))
		}
	}
	s.next(t, sctp.EventPeerShutdown)
	if _, err := s.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("server: %v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("client: %v", err)
	}
	for _, e := range []*end{c, s} {
		if _, err := e.Send(t.Context(), []sctp.Message{{Data: big}}); err == nil {
			t.Error("an ended association took a message")
		}
		if err := e.Drain(t.Context()); err == nil {
			t.Error("an ended association drained")
		}
		if err := e.Heartbeat(t.Context()); err == nil {
			t.Error("an ended association answered")
		}
		_ = e.Stats()
		e.Abort("again")
		e.Abort("and again")
	}

	// On a long way, too, nobody is sent an ABORT by who was told first.
	harness.Run(t, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "60ms")
	aborts := aborted(t)
	c, s = pair(t, sctp.Config{}, sctp.Config{})
	if err := c.Shutdown(); err != nil {
		t.Error(err)
	}
	if _, err := s.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("server: %v", err)
	}
	s.Abort("frees it")
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("client: %v", err)
	}
	if n := aborted(t); n != aborts {
		t.Errorf("%d associations aborted", n-aborts)
	}
	harness.Run(t, "tc", "qdisc", "del", "dev", "lo", "root")

	// Both at once: each has what the other sent, and knows that it has.
	for i := range 20 {
		c, s = pair(t, sctp.Config{}, sctp.Config{})
		c.send(t, sctp.Message{Data: []byte("c")}, sctp.Message{Stream: 1, Data: []byte("c")})
		s.send(t, sctp.Message{Data: []byte("s")})
		if err := errors.Join(c.Shutdown(), s.Shutdown()); err != nil {
			t.Fatal(err)
		}
		for e, sent := range map[*end]uint64{c: 2, s: 1} {
			if _, err := e.over(t); !errors.Is(err, transport.ErrClosed) {
				t.Errorf("%v", err)
			}
			if n := e.Acknowledged(); n != sent || e.Stats().MessagesReceived != 3-sent {
				t.Errorf("round %d: %d of %d messages acknowledged, %d received", i, n, sent, e.Stats().MessagesReceived)
			}
		}
	}
}

func testAbort(t *testing.T) {
	c, s := pair(t, sctp.Config{}, sctp.Config{})
	c.send(t, sctp.Message{Data: []byte("last")})
	c.drain(t)
	c.Abort("no more of this")
	if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "last" {
		t.Errorf("got %q", got.Message.Data)
	}
	_, err := s.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted || lost.Cause != causeUserAbort {
		t.Errorf("server: %#v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("client: %v", err)
	}
}

// Whatever waits can be woken.
func testCancel(t *testing.T) {
	l := listen(t, sctp.Config{}, "127.0.0.1:0")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	waiting := make(chan error, 1)
	go func() { _, err := l.Accept(ctx); waiting <- err }()
	cancel(why)
	if err := <-waiting; !errors.Is(err, why) {
		t.Errorf("accept: %v", err)
	}
	c, _ := connect(t, sctp.Config{}, l) // the acceptor goes on
	go func() { _, err := l.Accept(t.Context()); waiting <- err }()
	_ = l.Close()
	if err := <-waiting; err == nil {
		t.Error("a closed acceptor accepted")
	}
	c.Abort("")
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	defer lose(t)()
	if _, err := Dial(ctx, nil, ends("127.0.0.1:4739"), sctp.Config{}); !errors.Is(err, why) {
		t.Errorf("dial: %v", err)
	}
	late, stop := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer stop()
	if _, err := Dial(late, nil, ends("127.0.0.1:4739"), sctp.Config{}); !errors.Is(err, why) {
		t.Errorf("dial: %v", err)
	}
}

func testRefused(t *testing.T) {
	_, err := Dial(t.Context(), nil, ends("127.0.0.1:9"), sctp.Config{})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	l := listen(t, sctp.Config{}, "127.0.0.1:0")
	if _, err := Listen([]netip.AddrPort{l.Addr()}, sctp.Config{}); err == nil {
		t.Error("bound twice")
	}
}

// What an association has brought that ended before it was accepted is still
// taken, as RFC 7011, Section 10.2.4, asks of an end in order.
func testLate(t *testing.T) {
	for _, abort := range []bool{false, true} {
		l := listen(t, sctp.Config{InStreams: 7}, "127.0.0.1:0")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ca, err := Dial(ctx, nil, []netip.AddrPort{l.Addr()}, sctp.Config{InStreams: 5})
		if err != nil {
			t.Fatal(err)
		}
		c := begin(t, ca)
		c.send(t, sctp.Message{Data: []byte("first")}, sctp.Message{Stream: 1, Data: []byte("second")})
		c.drain(t)
		if abort {
			c.Abort("")
		} else if err := c.Shutdown(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("client: %v", err)
		}
		sa, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := begin(t, sa)
		if out, in := s.Streams(); out != 5 || in != 7 || s.RemoteAddr() != c.LocalAddr() || s.LocalAddr() != l.Addr() {
			t.Errorf("%d streams out and %d in, from %v to %v", out, in, s.RemoteAddr(), s.LocalAddr())
		}
		for i, want := range []string{"first", "second"} {
			if got := s.next(t, sctp.EventMessage).Message; string(got.Data) != want || int(got.Stream) != i {
				t.Errorf("got %q on stream %d", got.Data, got.Stream)
			}
		}
		_, err = s.over(t)
		if lost, ok := errors.AsType[*sctp.LostError](err); ok != abort || ok && !lost.Aborted || !ok && !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("aborted %v: the end is %v", abort, err)
		}
		if _, err := s.Send(ctx, []sctp.Message{{Data: []byte("x")}}); err == nil {
			t.Error("an association that is over took a message")
		}
	}
}
