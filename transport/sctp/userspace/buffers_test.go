package userspace

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

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
