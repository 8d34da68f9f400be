package shim

import (
	"bytes"
	"testing"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// beatOf takes the one HEARTBEAT that is to be sent.
func beatOf(t *testing.T, a *Association) []byte {
	t.Helper()
	list := packets(t, a)
	if len(list) != 1 {
		t.Fatalf("%d packets", len(list))
	}
	c, ok := chunkOf(list[0], wire.Heartbeat)
	if !ok {
		t.Fatalf("%v", types(list[0]))
	}
	return bytes.Clone(c.Value)
}

// RFC 9260, Section 8.3: an idle association is asked after the interval and
// an RTO, half of which is jitter; the answer gives a round trip time, and
// only the right answer is one.
func TestHeartbeat_Idle(t *testing.T) {
	a, _ := couple(t, plainOffer)
	at := a.Next()
	if wait := at.Sub(epoch); wait < quick.Heartbeat+quick.RTOInitial/2 || wait > quick.Heartbeat+quick.RTOInitial*3/2 {
		t.Errorf("first after %v", wait)
	}
	a.Advance(at.Add(-1))
	if len(packets(t, a)) > 0 {
		t.Fatal("too soon")
	}
	a.Advance(at)
	info := beatOf(t, a)
	forged := bytes.Clone(info)
	forged[len(forged)-1] ^= 1
	now := at.Add(80 * time.Millisecond)
	for _, wrong := range [][]byte{forged, nil, info[:8]} {
		a.Inbound(now, rawPacket(a, wire.AppendChunk(nil, wire.HeartbeatAck, 0, wrong)), nil)
	}
	if a.Signs() != 0 || a.Counts().Drops[DropUnexpected] != 3 {
		t.Error("another answer is taken for a sign of life")
	}
	a.Inbound(now, rawPacket(a, wire.AppendChunk(nil, wire.HeartbeatAck, 0, info)), nil)
	if a.Signs() != 1 || a.RTT() != 80*time.Millisecond {
		t.Errorf("%d signs, RTT %v", a.Signs(), a.RTT())
	}
	if next := a.Next(); next.Sub(now) < quick.Heartbeat {
		t.Errorf("next after %v", next.Sub(now))
	}
	a.Inbound(now, rawPacket(a, wire.AppendChunk(nil, wire.HeartbeatAck, 0, info)), nil)
	if a.Signs() != 1 {
		t.Error("answered twice")
	}
}

// RFC 9260, Sections 8.1 and 8.2: timeouts in a row make first the path
// suspect, then the association lost; RTO doubles up to its bound.
func TestHeartbeat_Unanswered(t *testing.T) {
	a, _ := couple(t, plainOffer)
	var sent []time.Time
	var down time.Time
	for range 1000 {
		now := a.Next()
		if now.IsZero() {
			break
		}
		a.Advance(now)
		if len(packets(t, a)) > 0 {
			sent = append(sent, now)
		}
		if kinds, _ := events(a); len(kinds) > 0 {
			if kinds[0] != EventPathDown || !down.IsZero() {
				t.Errorf("told %v", kinds)
			}
			down = now
		}
	}
	if a.End().Reason != EndLost || len(sent) != quick.MaxRetransmits+1 {
		t.Fatalf("%+v after %d heartbeats", a.End(), len(sent))
	}
	if n := len(sent); down != sent[quick.PathRetransmits+1] || !sent[n-1].Equal(sent[n-2].Add(quick.RTOMax)) {
		t.Errorf("suspected at %v; sent at %v", down, sent)
	}
	if gap := sent[1].Sub(sent[0]); gap != quick.RTOInitial {
		t.Errorf("the second follows after %v", gap)
	}
}

// Outstanding DATA that is not acknowledged counts as well; an
// acknowledgement of something new makes good all that was counted.
func TestData_Unacknowledged(t *testing.T) {
	s := newSender(t, 1, true)
	s.put(t, Message{Tag: 1}, 1)
	s.put(t, Message{Tag: 2}, 1)
	step := func(n int) {
		for range n {
			if next := s.a.Next(); !next.IsZero() {
				s.now = next
			}
			s.a.Advance(s.now)
			packets(t, s.a)
		}
	}
	step(quick.PathRetransmits)
	if kinds, _ := events(s.a); len(kinds) != 0 {
		t.Fatalf("told %v too soon", kinds)
	}
	step(1)
	if kinds, _ := events(s.a); len(kinds) != 1 || kinds[0] != EventPathDown {
		t.Fatalf("told %v", kinds)
	}
	s.sack(0xFFFFFFEF, 1000) // nothing new
	if kinds, _ := events(s.a); len(kinds) != 0 {
		t.Errorf("told %v for an acknowledgement of nothing", kinds)
	}
	s.sack(0xFFFFFFF0, 1000)
	if kinds, _ := events(s.a); len(kinds) != 1 || kinds[0] != EventPathUp {
		t.Errorf("told %v", kinds)
	}
	step(3 * quick.MaxRetransmits) // heartbeats among them
	if s.a.End().Reason != EndLost {
		t.Errorf("%+v", s.a.End())
	}
	if _, given := events(s.a); len(given) != 1 || given[0].Tag != 2 {
		t.Errorf("given up %v", given)
	}
}

// RFC 9260, Section 6.1, rule A: a peer without room that answers is alive.
func TestData_ZeroWindow(t *testing.T) {
	s := newSender(t, 1, true)
	s.put(t, Message{}, 1)
	for range 10 * quick.MaxRetransmits {
		s.now = s.a.Next()
		s.a.Advance(s.now)
		s.sack(0xFFFFFFEF, 0)
		packets(t, s.a)
	}
	if s.a.End().Reason != EndNone {
		t.Errorf("%+v", s.a.End())
	}
}

// RFC 9260, Section 6.3.1: RTO follows the round trip times of DATA that was
// sent once, one at a time.
func TestData_RoundTrip(t *testing.T) {
	s := newSender(t, 1, true)
	s.put(t, Message{}, 1)
	s.put(t, Message{}, 1)
	s.now = s.now.Add(100 * time.Millisecond)
	s.sack(0xFFFFFFF1, 1000)
	if s.a.RTT() != 100*time.Millisecond || s.a.path.rto != 300*time.Millisecond {
		t.Errorf("RTT %v, RTO %v", s.a.RTT(), s.a.path.rto)
	}
	s.put(t, Message{}, 1)
	s.again(t, 0xFFFFFFF2)
	s.now = s.now.Add(time.Minute)
	s.sack(0xFFFFFFF2, 1000)
	if s.a.RTT() != 100*time.Millisecond {
		t.Errorf("RTT %v after a retransmission (Karn's rule)", s.a.RTT())
	}
	if s.a.Counts().Retransmitted != 1 {
		t.Errorf("%d retransmitted", s.a.Counts().Retransmitted)
	}
}

func TestProbe(t *testing.T) {
	a, _ := couple(t, plainOffer)
	a.Probe(epoch)
	info := beatOf(t, a)
	a.Probe(epoch)
	if len(packets(t, a)) != 0 {
		t.Error("two heartbeats under way")
	}
	a.Inbound(epoch.Add(time.Millisecond), rawPacket(a, wire.AppendChunk(nil, wire.HeartbeatAck, 0, info)), nil)
	if a.Signs() != 1 {
		t.Error("no sign of life")
	}
}

// Negative intervals switch heartbeats off.
func TestHeartbeat_Off(t *testing.T) {
	cfg := config(t)
	cfg.Timers.Heartbeat = -1
	a := NewAssociation(epoch, Terms{Out: 1, In: 1}, cfg)
	if !a.Next().IsZero() {
		t.Errorf("due at %v", a.Next())
	}
}
