//go:build linux && !386

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// Messages of all sizes come whole, on their streams (RFC 7011, Section
// 10.2.6), with PPID 0, in order.
func testMessages(t *testing.T) {
	c, s := pair(t, sctp.Config{OutStreams: 10, InStreams: 3}, sctp.Config{OutStreams: 5})
	if out, in := c.Streams(); out != 10 || in != 3 {
		t.Errorf("client has %d streams out, %d in, want 10 and 3", out, in)
	}
	if out, in := s.Streams(); out != 3 || in != 10 {
		t.Errorf("server has %d streams out, %d in, want 3 and 10", out, in)
	}
	if c.RemoteAddr() != s.LocalAddr() || c.LocalAddr() != s.RemoteAddr() {
		t.Errorf("addresses %v-%v and %v-%v", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}
	var batch []sctp.Message
	for i, size := range []int{1, 16, 1452, 1453, 4095, 4096, 4097, 20000, 65535, 2} {
		batch = append(batch, sctp.Message{Stream: uint16(i), PPID: uint32(i) << 24, Unordered: i == 3, Data: bytes.Repeat([]byte{byte(i)}, size)})
	}
	c.send(t, batch...)
	c.drain(t)
	c.acknowledged(t, uint64(len(batch)))
	for _, want := range batch {
		got := s.next(t, sctp.EventMessage).Message
		if got.Stream != want.Stream || got.PPID != want.PPID || got.Unordered != want.Unordered || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("got %d octets on stream %d ppid %d unordered %v; want %d on %d", len(got.Data), got.Stream, got.PPID, got.Unordered, len(want.Data), want.Stream)
		}
	}
	many := make([]sctp.Message, 100)
	for i := range many {
		many[i] = sctp.Message{Stream: 1, Data: fmt.Appendf(nil, "%d", i)}
	}
	s.send(t, many...)
	for i := range many {
		if got := c.next(t, sctp.EventMessage).Message; string(got.Data) != fmt.Sprint(i) || got.Stream != 1 {
			t.Fatalf("message %d is %q on stream %d", i, got.Data, got.Stream)
		}
	}
	for _, m := range []struct {
		sctp.Message
		want error
	}{
		{sctp.Message{Stream: 10, Data: []byte{1}}, sctp.ErrStream},
		{sctp.Message{Data: make([]byte, 65536)}, transport.ErrTooLarge},
		{sctp.Message{}, errEmpty},
	} {
		if n, err := c.Send(t.Context(), []sctp.Message{{Data: []byte{1}}, m.Message, {Data: []byte{2}}}); n != 1 || !errors.Is(err, m.want) {
			t.Errorf("took %d, %v; want 1, %v", n, err, m.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Heartbeat(ctx); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	if st := c.Stats(); st.MessagesSent != 13 || st.MessagesReceived != 100 || st.Abandoned != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A message longer than any of IPFIX is another protocol's: nothing of it is
// delivered, and the association is over.
func testLong(t *testing.T) {
	for _, size := range []int{maxMessage + 1, 2 * maxMessage} {
		c, s := pair(t, sctp.Config{}, sctp.Config{})
		err := c.Association.(*association).control(func(fd int) error { return unix.Sendto(fd, make([]byte, size), 0, nil) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.over(t); !errors.Is(err, transport.ErrTooLarge) {
			t.Errorf("%d octets: %v", size, err)
		}
		if n := s.Stats().MessagesReceived; n != 0 {
			t.Errorf("%d octets: delivered", size)
		}
		_, err = c.over(t)
		if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
			t.Errorf("%d octets: the client is told %v", size, err)
		}
	}
}

func testIPv6(t *testing.T) {
	for _, at := range []string{"[::1]:0", "[::]:0"} {
		l := listen(t, sctp.Config{}, at)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ca, err := Dial(ctx, nil, []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Loopback(), l.Addr().Port())}, sctp.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c := begin(t, ca)
		sa, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := begin(t, sa)
		c.send(t, sctp.Message{Data: []byte("six")})
		if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "six" {
			t.Errorf("got %q", got.Message.Data)
		}
		if !s.RemoteAddr().Addr().Is6() {
			t.Errorf("remote %v", s.RemoteAddr())
		}
	}
	// All addresses, both families.
	c, s := connect(t, sctp.Config{}, &fourOf{listen(t, sctp.Config{}, "[::]:0")})
	c.send(t, sctp.Message{Data: []byte("four")})
	if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "four" || !s.RemoteAddr().Addr().Is4() {
		t.Errorf("got %q from %v", got.Message.Data, s.RemoteAddr())
	}
}

// fourOf is an acceptor reached by its IPv4 address.
type fourOf struct{ sctp.Acceptor }

func (f *fourOf) Addr() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), f.Acceptor.Addr().Port())
}

// Send waits while the peer does not read, and goes on when it does.
func testFull(t *testing.T) {
	l := listen(t, sctp.Config{ReceiveBuffer: 8 << 10}, "127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ca, err := Dial(ctx, nil, []netip.AddrPort{l.Addr()}, sctp.Config{SendBuffer: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, ca)
	sa, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("full")
	full, stop := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, why)
	defer stop()
	sent := 0
	m := []sctp.Message{{Data: make([]byte, 1000)}}
	for err = nil; err == nil; sent++ {
		_, err = c.Send(full, m)
	}
	if sent--; !errors.Is(err, why) || sent < 10 {
		t.Fatalf("after %d messages: %v", sent, err)
	}
	rest := make(chan error, 1)
	go func() { _, err := c.Send(ctx, m); rest <- err }()
	s := begin(t, sa)
	for range sent + 1 {
		s.next(t, sctp.EventMessage)
	}
	if err := <-rest; err != nil {
		t.Error(err)
	}
	// The end wakes a sender too.
	s.Abort("")
	for err = nil; err == nil; {
		_, err = c.Send(ctx, m)
	}
	if ctx.Err() != nil {
		t.Error("the end did not wake the sender")
	}
}

// Neither sending nor receiving allocates.
func testAllocations(t *testing.T) {
	l := listen(t, sctp.Config{}, "127.0.0.1:0")
	c, err := Dial(t.Context(), nil, []netip.AddrPort{l.Addr()}, sctp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort("")
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort("")
	batch := make([]sctp.Message, 8)
	for i := range batch {
		batch[i] = sctp.Message{Stream: uint16(i), Lifetime: time.Minute, Data: make([]byte, 1000)}
	}
	var ev sctp.Event
	ctx := t.Context()
	exchange := func() {
		if _, err := c.Send(ctx, batch); err != nil {
			t.Fatal(err)
		}
		for range batch {
			if err := s.Receive(&ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange()
	if n := testing.AllocsPerRun(100, exchange); n > 0 {
		t.Errorf("%v allocations for %d messages", n, len(batch))
	}
}
