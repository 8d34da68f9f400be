package tlsmux

import (
	"errors"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/tlsmux/core"
)

// fell waits for streams to fall.
func fell(t *testing.T, l transport.Laned, want ...uint16) {
	t.Helper()
	var got []uint16
	for got = l.Fell(got); len(got) < len(want); got = l.Fell(got) {
		wait(t, l.Freed(), "word of an end")
	}
	if !slices.Equal(got, want) {
		t.Fatalf("fell: %v, want %v", got, want)
	}
}

// roomy waits until a stream has room.
func roomy(t *testing.T, l transport.Laned, stream uint16) {
	t.Helper()
	for l.Room(stream) < maxMessage {
		wait(t, l.Freed(), "word of room")
	}
}

func on(stream uint16, o transport.Outgoing) transport.Outgoing {
	o.Stream = stream
	return o
}

// Section 3: what is wrong with a channel ends the channel, and the others and
// their session go on, at an exporter as well; its stream begins anew, as a
// Transport Session of its own. The session ends with its last channel.
func TestSession_ChannelEnds(t *testing.T) {
	p := start(t, true, CollectorConfig{StallTimeout: 20 * time.Millisecond})
	s := p.dial(t)
	l := s.(transport.Laned)
	first := wait(t, p.Opened, "session")
	send(t, s, on(1, message(100, 1)))
	second := wait(t, p.Opened, "session")
	second.Messages(t, 1)
	send(t, s, on(1, transport.Outgoing{Data: message(100, 2).Data[:50]}))
	if err := wait(t, second.Over, "Closed"); err == nil {
		t.Error("nobody is told of the fault")
	}
	fell(t, l, 1)
	if n, err := s.Send(t.Context(), []transport.Outgoing{on(1, message(100, 3))}); n != 0 || !errors.Is(err, transport.ErrBusy) || l.Room(1) != 0 {
		t.Errorf("Send on what ended: %d, %v, room for %d octets", n, err, l.Room(1))
	}
	send(t, s, message(100, 4))
	first.Messages(t, 1)
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if l.Confirmed(0) != 100 {
		t.Errorf("%d octets confirmed", l.Confirmed(0))
	}
	l.Renew(1)
	if n, err := s.Send(t.Context(), []transport.Outgoing{on(1, message(100, 5))}); n != 0 || !errors.Is(err, transport.ErrBusy) || l.Confirmed(1) != 0 {
		t.Errorf("Send at once: %d, %v, %d octets confirmed", n, err, l.Confirmed(1))
	}
	roomy(t, l, 1)
	send(t, s, on(1, message(100, 6)))
	third := wait(t, p.Opened, "session of the next channel")
	if third.Messages(t, 1); third.Peer.Session == second.Peer.Session {
		t.Error("the same session")
	}
	if err := s.Probe(t.Context()); err != nil || l.Confirmed(1) != 100 || len(l.Fell(nil)) != 0 {
		t.Errorf("Probe: %v, %d octets confirmed", err, l.Confirmed(1))
	}
	select {
	case <-s.Done():
		t.Fatalf("the session ended: %v", s.Err())
	default:
	}
	half := transport.Outgoing{Data: message(100, 7).Data[:50]}
	send(t, s, half, on(1, half))
	wait(t, s.Done(), "end with the last channel")
	if !errors.Is(s.Err(), transport.ErrPeerClosed) {
		t.Errorf("ended with %v", s.Err())
	}
}

// A channel that the collector has no place for keeps none of the others from
// going on.
func TestSession_ChannelRefused(t *testing.T) {
	p := start(t, true, CollectorConfig{Core: core.Config{MaxChannels: 2}})
	s := p.dial(t)
	l := s.(transport.Laned)
	for stream := range uint16(3) {
		send(t, s, on(stream, message(100, 1)))
	}
	fell(t, l, 2)
	for range 2 {
		wait(t, p.Opened, "session").Messages(t, 1)
	}
	l.Renew(2)
	roomy(t, l, 2)
	send(t, s, on(2, message(100, 2)), message(100, 3))
	fell(t, l, 2)
	if l.Confirmed(2) != 0 || p.listener.Stats().Dropped["channel-refused"] != 2 || s.Err() != nil {
		t.Errorf("%d octets confirmed, %+v, %v", l.Confirmed(2), p.listener.Stats(), s.Err())
	}
}

// A channel that stands still is given up for another, whatever waits for it.
func TestSession_RenewsWhatStandsStill(t *testing.T) {
	p := start(t, true, CollectorConfig{Core: core.Config{Window: 300_000}})
	s := p.dial(t)
	l := s.(transport.Laned)
	first := wait(t, p.Opened, "session")
	first.Stall(true)
	send(t, s, on(1, message(100, 1)))
	other := wait(t, p.Opened, "session")
	for l.Room(0) >= maxMessage {
		send(t, s, message(60_000, 2))
	}
	waiting := make(chan error, 1)
	go func() { waiting <- s.Probe(t.Context()) }() // ended by its answer
	l.Renew(0)
	if err := wait(t, waiting, "answer of what is left"); err != nil {
		t.Errorf("Probe: %v", err)
	}
	if err := wait(t, first.Over, "Closed"); err == nil && len(first.Messages(t, 0)) > 5 {
		t.Error("more came than the window holds")
	}
	roomy(t, l, 0)
	send(t, s, message(100, 3))
	next := wait(t, p.Opened, "session of the next channel")
	next.Messages(t, 1)
	if err := s.Probe(t.Context()); err != nil || l.Confirmed(0) != 100 || len(other.Messages(t, 1)) != 1 {
		t.Errorf("Probe: %v, %d octets confirmed", err, l.Confirmed(0))
	}
	first.Stall(false) // what it had waits for nobody
	if err := s.Probe(t.Context()); err != nil || l.Confirmed(0) != 100 || len(l.Fell(nil)) != 0 {
		t.Errorf("Probe: %v, %d octets confirmed", err, l.Confirmed(0))
	}
}
