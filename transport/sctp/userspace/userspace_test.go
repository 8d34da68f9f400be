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
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// hasty are timers for tests in which something is lost.
func hasty() Config {
	return Config{Config: sctp.Config{
		RTOInitial: 50 * time.Millisecond, RTOMin: 20 * time.Millisecond, RTOMax: 100 * time.Millisecond,
		Heartbeat: 50 * time.Millisecond, MaxRetransmits: 6, PathRetransmits: 3,
	}}
}

// patient are hasty, but never give up.
func patient() Config {
	c := hasty()
	c.MaxRetransmits, c.PathRetransmits = 1<<20, 1<<20
	return c
}

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

func TestSend_Refuses(t *testing.T) {
	_, c := pair(t, Config{Config: sctp.Config{InStreams: 3}}, Config{})
	if out, in := c.Streams(); out != 3 || in != sctp.DefaultStreams {
		t.Errorf("%d streams out, %d in", out, in)
	}
	good := sctp.Message{Data: []byte("x")}
	for name, row := range map[string]struct {
		m    sctp.Message
		want error
	}{
		"too large": {sctp.Message{Data: make([]byte, maxMessage+1)}, transport.ErrTooLarge},
		"no stream": {sctp.Message{Stream: 3, Data: []byte("x")}, sctp.ErrStream},
		"empty":     {sctp.Message{}, errEmpty},
	} {
		if n, err := c.Send(t.Context(), []sctp.Message{good, row.m, good}); n != 1 || !errors.Is(err, row.want) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

// Send waits for room, not longer than its context, and with one that has
// ended takes what there is room for.
func TestSend_WaitsForRoom(t *testing.T) {
	cfg := patient()
	cfg.SendBuffer = 3000
	s, c, r, _ := pairBy(t, Config{}, cfg)
	r.set(none)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	m := sctp.Message{Data: numbered(0, 1000)}
	if n, err := c.Send(ended, []sctp.Message{m, m, m, m, m}); n != 3 || !errors.Is(err, context.Canceled) {
		t.Fatalf("took %d, %v", n, err)
	}
	sent := make(chan error, 1)
	ctx := withPatience(t)
	go func() {
		_, err := c.Send(ctx, []sctp.Message{m})
		sent <- err
	}()
	select {
	case err := <-sent:
		t.Fatalf("did not wait: %v", err)
	default:
	}
	r.set(nil)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for range 4 {
		s.next(t, sctp.EventMessage)
	}
}

// A receiver that does not receive stops its sender and loses nothing.
func TestReceive_BackPressure(t *testing.T) {
	small := patient()
	small.ReceiveBuffer, small.SendBuffer = 40_000, 40_000
	l := listen(t, loopback4, small)
	ca, err := dial(t, l, small)
	if err != nil {
		t.Fatal(err)
	}
	c := receive(t, ca)
	sa, err := l.Accept(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	const messages = 200
	sent := make(chan error, 1)
	ctx := withPatience(t)
	go func() {
		for i := range messages {
			if _, err := c.Send(ctx, []sctp.Message{{Stream: uint16(i % 4), Data: numbered(i, 1000)}}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	// The sender comes to a stop with both buffers full: not before, and not
	// behind it.
	sentSoFar := func() uint64 { return c.Stats().MessagesSent }
	eventually(t, func() bool { return sentSoFar() >= 40 }, func() any { return sentSoFar() })
	last := sentSoFar()
	for still := 0; still < 10; {
		waitFor(t, 20*time.Millisecond)
		if now := sentSoFar(); now != last {
			last, still = now, 0
		} else {
			still++
		}
	}
	if last >= messages/2+20 {
		t.Errorf("stopped after %d messages", last)
	}
	s := receive(t, sa)
	next := [4]int{0, 1, 2, 3}
	for range messages {
		g := s.next(t, sctp.EventMessage)
		if i := g.Message.Stream; !bytes.Equal(g.data, numbered(next[i], 1000)) {
			t.Fatalf("stream %d: %.8q, want message %d", i, g.data, next[i])
		}
		next[g.Message.Stream] += 4
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// A message that can never fit ends the association instead of stopping it for
// ever.
func TestReceive_MessageLargerThanBuffer(t *testing.T) {
	small := hasty()
	small.ReceiveBuffer = 20_000
	s, c := pair(t, small, patient())
	c.send(t, sctp.Message{Tag: 9, Data: make([]byte, 60_000)})
	if _, err := s.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the server is told %v", err)
	}
	before, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted || lost.Reason != "message larger than the receive buffer" {
		t.Errorf("the client is told %v", err)
	}
	if len(before) != 1 || before[0].Kind != sctp.EventSendFailed || before[0].Message.Tag != 9 {
		t.Errorf("told %+v", before)
	}
	if n := oversized(s); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// oversized counts messages too large for the socket of an end.
func oversized(e *end) uint64 {
	return e.Association.(*association).s.Dropped()[shim.DropOversized.String()]
}

// A message longer than any we take ends the association.
func TestReceive_MessageTooLong(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	a := c.Association.(*association)
	a.engine.SetMaxMessageSize(1 << 20)
	a.mu.Lock()
	a.core.Enter(&shim.Message{Size: maxMessage + 1})
	a.mu.Unlock()
	if _, err := a.streams.get(0).WriteSCTP(make([]byte, maxMessage+1), 0); err != nil {
		t.Fatal(err)
	}
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || lost.Reason != "message longer than 65535 octets" {
		t.Errorf("the sender is told %v", err)
	}
	if before, _ := s.over(t); len(before) != 0 {
		t.Errorf("delivered %d octets", len(before[0].data))
	}
	if n := oversized(s); n != 1 {
		t.Errorf("%d counted", n)
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

// RFC 3758: a message that cannot be delivered in time is given up, alone; the
// peer gets everything else, also on the same stream, and the sender knows which
// it was.
func TestAssociation_PartialReliability(t *testing.T) {
	s, c, r, _ := pairBy(t, patient(), patient())
	if !c.PartialReliability() {
		t.Fatal("not negotiated")
	}
	r.set(func(p []byte, toServer bool) int {
		if toServer && holds(p, "lost ") {
			return 0
		}
		return 1
	})
	texts := []string{"first", "lost ordered", "second", "lost unordered", "third"}
	for i, text := range texts {
		m := sctp.Message{Stream: 1, Tag: uint32(i), Data: []byte(text), Unordered: i == 3}
		if i == 1 || i == 3 {
			m.Lifetime = 50 * time.Millisecond
		}
		c.send(t, m)
		// A packet each: the relay loses what is bundled with them.
		if i%2 == 0 {
			if g := s.next(t, sctp.EventMessage); string(g.data) != text {
				t.Fatalf("%q", g.data)
			}
		}
	}
	failed := map[uint32]bool{}
	for range 2 {
		failed[c.next(t, sctp.EventSendFailed).Message.Tag] = true
	}
	if !failed[1] || !failed[3] {
		t.Errorf("failed %v", failed)
	}
	if err := c.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	if c.Acknowledged() != 5 || c.Stats().Abandoned != 2 {
		t.Errorf("%d known, %d abandoned", c.Acknowledged(), c.Stats().Abandoned)
	}
	c.send(t, sctp.Message{Stream: 1, Data: []byte("after")})
	for {
		if g := s.next(t, sctp.EventMessage); string(g.data) == "after" {
			break
		} else if bytes.HasPrefix(g.data, []byte("lost")) {
			t.Errorf("delivered %q", g.data)
		}
	}
}

// At the end the sender knows of each message whether the peer has it: what is
// not told as failed was received.
func TestAssociation_FateOfEachMessage(t *testing.T) {
	s, c, r, _ := pairBy(t, hasty(), hasty())
	dropping := false
	r.set(func(_ []byte, toServer bool) int {
		if toServer && dropping {
			return 0
		}
		return 1
	})
	for i := range 20 {
		c.send(t, sctp.Message{Tag: uint32(i), Data: numbered(i, 800)})
	}
	if err := c.Drain(withPatience(t)); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	dropping = true
	r.mu.Unlock()
	for i := 20; i < 30; i++ {
		c.send(t, sctp.Message{Tag: uint32(i), Data: numbered(i, 800)})
	}
	before, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || lost.Aborted {
		t.Errorf("the client is told %v", err)
	}
	next, down := uint32(20), false
	for _, ev := range before {
		switch ev.Kind {
		case sctp.EventPathDown:
			down = true
			if next != 20 {
				t.Error("suspected after the end")
			}
		case sctp.EventSendFailed:
			if ev.Message.Tag != next {
				t.Errorf("message %d failed, want %d", ev.Message.Tag, next)
			}
			next++
		}
	}
	if !down || next != 30 || c.Acknowledged() != 30 {
		t.Errorf("path down told %v; failed up to %d; %d known", down, next, c.Acknowledged())
	}
	for i := range 20 {
		if g := s.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(i, 800)) {
			t.Fatalf("message %d: %.8q", i, g.data)
		}
	}
	// The server hears nothing any more and gives up as well.
	if _, err := s.over(t); err == nil {
		t.Error("no end")
	}
}

// Acknowledged does not run ahead of failures that Receive has not told, nor of
// the one that it has just returned: whoever receives may not have come to it,
// and another goroutine that asks would take the message for one that arrived.
func TestAcknowledged_WaitsForReceive(t *testing.T) {
	l := listen(t, loopback4, hasty())
	r := newRelay(t, UDPAddr(l))
	ca, err := r.dial(t, l, patient())
	if err != nil {
		t.Fatal(err)
	}
	r.set(none)
	if _, err := ca.Send(withPatience(t), []sctp.Message{{Data: []byte("a")}, {Data: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	ca.Abort("")
	if n := ca.Acknowledged(); n != 0 {
		t.Errorf("%d known before Receive", n)
	}
	var ev sctp.Event
	for told := range uint64(2) {
		if err := ca.Receive(&ev); err != nil || ev.Kind != sctp.EventSendFailed {
			t.Fatalf("%+v, %v", ev, err)
		}
		if n := ca.Acknowledged(); n != told {
			t.Errorf("%d known while the failure of message %d is being told", n, told+1)
		}
	}
	if err := ca.Receive(&ev); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("%v", err)
	}
	if n := ca.Acknowledged(); n != 2 {
		t.Errorf("%d known at the end", n)
	}
}

func TestAbort(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	c.send(t, sctp.Message{Data: []byte("before")})
	s.next(t, sctp.EventMessage)
	s.Abort("had enough")
	s.Abort("again")
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted || lost.Reason != "had enough" || lost.Cause != uint16(wire.CauseUserAbort) {
		t.Errorf("the client is told %v", err)
	}
	if _, err := s.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the server is told %v", err)
	}
	if _, err := c.Send(t.Context(), []sctp.Message{{Data: []byte("x")}}); err == nil {
		t.Error("Send after the end")
	}
	if err := c.Heartbeat(t.Context()); err == nil {
		t.Error("Heartbeat after the end")
	}
	if err := c.Shutdown(); err != nil {
		t.Errorf("Shutdown after the end: %v", err)
	}
}

// RFC 9260, Section 8.4: a peer that has lost everything says so, and the
// sender knows at once instead of after its timeouts.
func TestAssociation_PeerForgot(t *testing.T) {
	l := listen(t, loopback4, Config{})
	at := UDPAddr(l)
	_, c, r, _ := pairTo(t, l, Config{})
	r.set(none) // the ABORTs of Close get lost
	l.Close()
	listen(t, loopback4, Config{Local: at})
	r.set(nil)
	c.send(t, sctp.Message{Data: []byte("anybody there?")})
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
		t.Errorf("the client is told %v", err)
	}
}

// pairTo is pairBy with a listener that is there already.
func pairTo(t testing.TB, l sctp.Acceptor, client Config) (s, c *end, r *relay, _ sctp.Acceptor) {
	t.Helper()
	r = newRelay(t, UDPAddr(l))
	ca, err := r.dial(t, l, client)
	if err != nil {
		t.Fatal(err)
	}
	sa, err := l.Accept(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	return receive(t, sa), receive(t, ca), r, l
}

// RFC 9260, Section 9.2: when the last word of an orderly end is lost it is
// asked for again; both sides learn of an orderly end.
func TestShutdown_CompleteIsLost(t *testing.T) {
	s, c, r, _ := pairBy(t, patient(), patient())
	lost := 0
	r.set(func(p []byte, _ bool) int {
		if has(p, wire.ShutdownComplete) && lost < 2 {
			lost++
			return 0
		}
		return 1
	})
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	before, err := s.over(t)
	if !errors.Is(err, transport.ErrPeerClosed) || len(before) == 0 || before[0].Kind != sctp.EventPeerShutdown {
		t.Errorf("the server is told %v, then %v", before, err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the client is told %v", err)
	}
}

func TestShutdown_Crossing(t *testing.T) {
	s, c := pair(t, Config{}, Config{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Shutdown()
	}()
	_ = c.Shutdown()
	<-done
	for _, e := range []*end{s, c} {
		if _, err := e.over(t); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("told %v", err)
		}
	}
}

// DATA on a stream never used before still arrives while this side shuts down.
func TestShutdown_PeerStillSends(t *testing.T) {
	s, c, r, _ := pairBy(t, patient(), patient())
	// The server cannot finish: its own message stays unacknowledged.
	r.set(func(p []byte, toServer bool) int {
		if !toServer && holds(p, "stuck") {
			return 0
		}
		return 1
	})
	s.send(t, sctp.Message{Data: []byte("stuck")})
	if err := s.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Send(t.Context(), []sctp.Message{{Data: []byte("x")}}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("Send after Shutdown: %v", err)
	}
	for i := range 40 {
		c.send(t, sctp.Message{Stream: uint16(i), Data: numbered(i, 100)})
	}
	for range 40 {
		s.next(t, sctp.EventMessage)
	}
	r.set(nil)
	if _, err := s.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("the server is told %v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("the client is told %v", err)
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

func TestAuth_KeysChange(t *testing.T) {
	cfg := Config{Config: sctp.Config{Auth: true}}
	s, c, r, l := pairBy(t, cfg, cfg)
	list, err := c.PeerAuthChunks()
	if err != nil || !bytes.Equal(list, []byte{sctp.ChunkData, sctp.ChunkForwardTSN}) {
		t.Fatalf("the peer demands % x, %v", list, err)
	}
	var bare, sealed int
	var last []byte // a packet of the client's with DATA
	r.watch(func(p []byte, toServer bool) {
		if has(p, wire.DATA) {
			if has(p, wire.Auth) {
				sealed++
			} else {
				bare++
			}
			if toServer {
				last = bytes.Clone(p)
			}
		}
	})
	exchange := func(text string) {
		t.Helper()
		c.send(t, sctp.Message{Data: []byte(text)})
		if g := s.next(t, sctp.EventMessage); string(g.data) != text {
			t.Fatalf("%q", g.data)
		}
		s.send(t, sctp.Message{Data: []byte(text)})
		if g := c.next(t, sctp.EventMessage); string(g.data) != text {
			t.Fatalf("%q", g.data)
		}
		if err := errors.Join(c.Drain(withPatience(t)), s.Drain(withPatience(t))); err != nil {
			t.Fatal(err)
		}
	}
	exchange("under key 0")
	secret := bytes.Repeat([]byte{1, 2}, 32)
	if err := errors.Join(c.SetKey(1, secret), c.ActivateKey(1)); err != nil {
		t.Fatal(err)
	}
	// The server has no key 1 yet: the message waits for it.
	c.send(t, sctp.Message{Data: []byte("early")})
	if err := errors.Join(s.SetKey(1, secret), s.ActivateKey(1), s.DeleteKey(0), c.DeleteKey(0)); err != nil {
		t.Fatal(err)
	}
	if g := s.next(t, sctp.EventMessage); string(g.data) != "early" {
		t.Fatalf("%q", g.data)
	}
	exchange("under key 1")
	r.watch(nil)
	if bare != 0 || sealed < 5 {
		t.Errorf("%d packets with DATA unauthenticated, %d authenticated", bare, sealed)
	}

	// Forged: without AUTH, altered, and under the deleted key 0.
	h, _ := wire.ParseHeader(last)
	forged := func(alter func(p []byte) []byte) {
		p := alter(bytes.Clone(last))
		wire.SetChecksum(p)
		r.inject(p)
	}
	forged(func([]byte) []byte {
		d := wire.Data{Flags: 3, TSN: 1 << 20, User: []byte("forged")}
		return d.Append(h.Append(nil))
	})
	forged(func(p []byte) []byte { p[len(p)-1] ^= 1; return p })
	forged(func(p []byte) []byte { p[wire.HeaderLen+5] = 0; return p })
	want := map[string]uint64{
		shim.DropUnauthenticated.String(): 1, shim.DropMAC.String(): 1, shim.DropKey.String(): 1,
	}
	eventually(t, func() bool {
		got := l.Stats().Dropped
		for reason, n := range want {
			if got[reason] != n {
				return false
			}
		}
		return true
	}, func() any { return l.Stats().Dropped })
	exchange("still there")
}
