package userspace

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/wire"
)

func TestAssociation_MessagesBothWays(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	sizes := []int{1, 3, 100, 1452, 1500, 9000, 65535}
	for i, size := range sizes {
		m := sctp.Message{Stream: uint16(i), PPID: uint32(i) * 7, Unordered: i%2 == 1, Data: numbered(i, max(size, 8))[:size]}
		c.send(t, m)
		g := s.next(t, sctp.EventMessage)
		if g.Message.Stream != m.Stream || g.Message.PPID != m.PPID || g.Message.Unordered != m.Unordered || !bytes.Equal(g.data, m.Data) {
			t.Fatalf("message of %d octets came as stream %d, PPID %d, unordered %v, %d octets", size, g.Message.Stream, g.Message.PPID, g.Message.Unordered, len(g.data))
		}
		s.send(t, m)
		if g := c.next(t, sctp.EventMessage); !bytes.Equal(g.data, m.Data) {
			t.Fatal("not echoed as it was")
		}
	}
	if err := c.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	if n := c.Acknowledged(); n != uint64(len(sizes)) {
		t.Errorf("%d of %d messages acknowledged after Drain", n, len(sizes))
	}
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("the server is told %v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the client is told %v", err)
	}
	if st := c.Stats(); st.MessagesSent != uint64(len(sizes)) || st.MessagesReceived != st.MessagesSent || st.RTT == 0 {
		t.Errorf("%+v", st)
	}
}

func TestAssociation_IPv6(t *testing.T) {
	l := listen(t, netip.IPv6Loopback(), Config{})
	s, c := pairOn(t, l, Config{})
	c.send(t, sctp.Message{Data: []byte("six")})
	if g := s.next(t, sctp.EventMessage); string(g.data) != "six" {
		t.Errorf("%q", g.data)
	}
	if a := s.RemoteAddr(); a.Addr() != netip.IPv6Loopback() || a.Port() != c.LocalAddr().Port() {
		t.Errorf("the client is at %v, says %v", a, c.LocalAddr())
	}
}

// A listener on all addresses answers from the one that was asked.
func TestListener_AllAddresses(t *testing.T) {
	l := listen(t, netip.IPv6Unspecified(), Config{})
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		ca, err := Dial(withPatience(t), netip.AddrPortFrom(netip.MustParseAddr(ip), testPort), Config{UDPPort: UDPAddr(l).Port()})
		if err != nil {
			t.Fatal(err)
		}
		sa, err := l.Accept(withPatience(t))
		if err != nil {
			t.Fatal(err)
		}
		s, c := receive(t, sa), receive(t, ca)
		s.send(t, sctp.Message{Data: []byte(ip)})
		if g := c.next(t, sctp.EventMessage); string(g.data) != ip || s.LocalAddr().Addr() != netip.MustParseAddr(ip) {
			t.Errorf("%s: %q, from %v", ip, g.data, s.LocalAddr())
		}
	}
}

// Loss, duplicates and disorder cost time, not messages, nor their order
// within a stream; a shutdown in the middle delivers what was sent before.
func TestAssociation_LossyPath(t *testing.T) {
	for _, auth := range []bool{false, true} {
		cfg := patient()
		cfg.Auth = auth
		s, c, r, _ := pairBy(t, cfg, cfg)
		r.set(lossy(7, 0.05, 0.05))
		const messages = 300
		for i := range messages {
			c.send(t, sctp.Message{Stream: uint16(i % 3), Data: numbered(i, 100+i*7)})
		}
		if err := c.Shutdown(); err != nil {
			t.Fatal(err)
		}
		got, err := s.over(t)
		if !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("auth %v: the server is told %v", auth, err)
		}
		next := [3]int{0, 1, 2}
		n := 0
		for _, g := range got {
			if g.Kind != sctp.EventMessage {
				continue
			}
			i := &next[g.Message.Stream]
			if !bytes.Equal(g.data, numbered(*i, 100+*i*7)) {
				t.Fatalf("auth %v: stream %d: %.8q, want message %d", auth, g.Message.Stream, g.data, *i)
			}
			*i += 3
			n++
		}
		if n != messages {
			t.Errorf("auth %v: %d of %d messages", auth, n, messages)
		}
		before, err := c.over(t)
		if !errors.Is(err, transport.ErrClosed) || c.Acknowledged() != messages {
			t.Errorf("auth %v: the client is told %v; %d acknowledged", auth, err, c.Acknowledged())
		}
		for _, ev := range before {
			if ev.Kind == sctp.EventSendFailed {
				t.Errorf("auth %v: message %d failed", auth, ev.Message.Tag)
			}
		}
	}
}

func TestHeartbeat(t *testing.T) {
	cfg := Config{Config: sctp.Config{Heartbeat: -1}}
	_, c, r, _ := pairBy(t, cfg, cfg)
	if err := c.Heartbeat(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	if c.Stats().RTT == 0 {
		t.Error("no round trip time")
	}
	r.set(none)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := c.Heartbeat(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without answer: %v", err)
	}
}

// RFC 6951, Section 5.4: answers follow the peer's UDP port.
func TestAssociation_PortOfPeerChanges(t *testing.T) {
	s, c, r, _ := pairBy(t, Config{}, Config{})
	for i := range 3 {
		c.send(t, sctp.Message{Data: numbered(i, 10)})
		s.next(t, sctp.EventMessage)
		s.send(t, sctp.Message{Data: numbered(i, 10)})
		c.next(t, sctp.EventMessage)
		r.rebind(t)
	}
}

// RFC 9260, Section 5.2.4, action A: a peer that begins anew from the same
// place ends its old association; the new one is another.
func TestAssociation_Restart(t *testing.T) {
	cfg := Config{LocalPort: 40_000}
	s, c, r, l := pairBy(t, Config{}, cfg)
	c.send(t, sctp.Message{Data: []byte("old")})
	s.next(t, sctp.EventMessage)
	s.send(t, sctp.Message{Tag: 3, Data: []byte("never read")})
	if err := s.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	// The new client would answer what is still on its way to the old one.
	r.set(func(p []byte, _ bool) int {
		if has(p, wire.Abort) {
			return 0
		}
		return 1
	})
	again, err := r.dial(t, l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	c2 := receive(t, again)
	before, err := s.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
		t.Errorf("the old association is told %v", err)
	}
	if len(before) != 1 || before[0].Kind != sctp.EventRestart {
		t.Errorf("told %+v", before)
	}
	sa, err := l.Accept(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	s2 := receive(t, sa)
	c2.send(t, sctp.Message{Data: []byte("new")})
	if g := s2.next(t, sctp.EventMessage); string(g.data) != "new" {
		t.Errorf("%q", g.data)
	}
}
