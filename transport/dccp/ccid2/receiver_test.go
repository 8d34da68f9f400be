package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

type sink struct {
	*Receiver
	now  time.Time
	next int
}

func newSink() *sink {
	return &sink{Receiver: NewReceiver(ccid.Setup{Now: epoch, Next: first, MPS: 1000}), now: epoch}
}

func (s *sink) come(r ccid.Received) {
	r.Seq = seq(s.next)
	s.next++
	s.Received(s.now, &r)
}

func (s *sink) data() { s.come(ccid.Received{Type: wire.Data, Data: true, Size: 1000}) }

func (s *sink) pass(d time.Duration) { s.now = s.now.Add(d) }

func (s *sink) ack() { s.AckSent(s.now, 1, false) }

// RFC 4340, Section 11.3: one acknowledgement for Ack Ratio data packets;
// nothing else is acknowledged.
func TestOneAcknowledgementForAckRatioPackets_RFC4340_11_3(t *testing.T) {
	s := newSink()
	for _, ratio := range []int{2, 1, 5} {
		if ratio != 2 {
			s.Feature(wire.FeatAckRatio, uint64(ratio))
		}
		for n := range ratio {
			if s.AckDue(s.now) {
				t.Fatalf("ratio %d: due after %d packets", ratio, n)
			}
			s.come(ccid.Received{Type: wire.Ack})
			s.data()
		}
		if !s.AckDue(s.now) {
			t.Fatalf("ratio %d: not due after %d packets", ratio, ratio)
		}
		s.ack()
	}
	s.Feature(wire.FeatAckRatio, 0)
	s.data()
	if s.AckDue(s.now) {
		t.Error("without a ratio, due after one packet")
	}
	s.data()
	if !s.AckDue(s.now) || s.Stats().Acks != 3 {
		t.Errorf("without a ratio, not due after two; %+v", s.Stats())
	}
}

// RFC 4340, Section 11.3: no packet waits longer than 200 ms.
func TestDelayedAcknowledgement_RFC4340_11_3(t *testing.T) {
	s := newSink()
	if !s.Next().IsZero() {
		t.Error("the timer runs before any data")
	}
	s.data()
	if at := s.Next(); !at.Equal(epoch.Add(200 * time.Millisecond)) {
		t.Fatalf("timer at %v", at.Sub(epoch))
	}
	s.pass(199 * time.Millisecond)
	if s.AckDue(s.now) {
		t.Error("due before its time")
	}
	s.pass(time.Millisecond)
	if !s.AckDue(s.now) {
		t.Error("not due after 200 ms")
	}
	// It says how long the packet has waited (RFC 4340, Section 13.2).
	if b := s.AppendOptions(s.now, nil, 100); len(b) != 4 || b[0] != 43 || b[2] != 20000>>8 || b[3] != 20000&0xff {
		t.Errorf("options % x", b)
	}
	if b := s.AppendOptions(s.now, nil, 5); b != nil {
		t.Errorf("options % x without room", b)
	}
	s.ack()
	if s.AckDue(s.now) || !s.Next().IsZero() {
		t.Error("due after it went")
	}
}

// RFC 4340, Section 11.3: at once when something is missing or comes late.
func TestOutOfOrderIsAcknowledgedAtOnce_RFC4340_11_3(t *testing.T) {
	s := newSink()
	s.Feature(wire.FeatAckRatio, 10)
	s.data()
	s.next++
	s.data()
	if !s.AckDue(s.now) {
		t.Error("not due behind a hole")
	}
	s.ack()
	s.next = 1
	s.data()
	if !s.AckDue(s.now) {
		t.Error("not due when the hole is filled")
	}
	s.ack()
	s.next = 3
	s.data()
	if s.AckDue(s.now) {
		t.Error("due though all is in order")
	}
	if n := s.Stats().Losses; n != 1 {
		t.Errorf("%d missing", n)
	}
}

// RFC 4340, Section 11.3: at once when marked, but once in a round trip.
func TestMarksAreAcknowledgedAtOnce_RFC4340_11_3(t *testing.T) {
	s := newSink()
	s.Feature(wire.FeatAckRatio, 10)
	marked := func() bool {
		s.come(ccid.Received{Type: wire.Data, Data: true, CE: true})
		due := s.AckDue(s.now)
		s.ack()
		return due
	}
	if !marked() {
		t.Error("not due for a mark")
	}
	s.pass(199 * time.Millisecond) // no round trip known: 200 ms (RFC 4340, Section 3.4)
	if marked() {
		t.Error("due for a second mark within 200 ms")
	}
	s.SetRTT(50 * time.Millisecond)
	if !marked() {
		t.Error("not due for a mark when a round trip has passed")
	}
	s.pass(49 * time.Millisecond)
	if marked() {
		t.Error("due for a second mark within a round trip")
	}
	s.pass(time.Millisecond)
	if !marked() {
		t.Error("not due for a mark a round trip later")
	}
}

func TestReceiverDoesNotAllocate(t *testing.T) {
	s := newSink()
	r := ccid.Received{Type: wire.Data, Data: true, Size: 1000}
	b := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		s.come(r)
		s.pass(time.Millisecond)
		if s.AckDue(s.now) {
			b = s.AppendOptions(s.now, b[:0], 100)
			s.ack()
		}
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
