package shim

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport/sctp/wire"
)

// forwardOf takes the one FORWARD TSN that is to be sent.
func forwardOf(t *testing.T, a *Association) (point uint32, streams map[uint16]uint16) {
	t.Helper()
	list := packets(t, a)
	if len(list) != 1 {
		t.Fatalf("%d packets", len(list))
	}
	c, ok := chunkOf(list[0], wire.ForwardTSN)
	f, ok2 := wire.ParseForward(c.Value)
	if !ok || !ok2 {
		t.Fatalf("%x", list[0])
	}
	streams = map[uint16]uint16{}
	for i := range f.Streams() {
		stream, ssn := f.Stream(i)
		streams[stream] = ssn
	}
	return f.Cumulative, streams
}

// RFC 3758, Sections 3.5 and 4.1: a message whose lifetime is over is neither
// sent nor sent again; the peer is told to skip it, with the last sequence
// number of each stream and nothing of unordered ones; reliable messages on
// the same streams are not touched.
func TestPartialReliability(t *testing.T) {
	s := newSender(t, 3, true)
	deadline := epoch.Add(time.Second)
	s.put(t, Message{Stream: 1, Tag: 11, Deadline: deadline}, 1)                  // F0, SSN 0
	s.put(t, Message{Stream: 1, Tag: 12, Deadline: deadline}, 1)                  // F1, SSN 1
	s.put(t, Message{Stream: 2, Tag: 13, Deadline: deadline, Unordered: true}, 1) // F2
	s.put(t, Message{Stream: 1, Tag: 14}, 1)                                      // F3, SSN 2, reliable
	s.put(t, Message{Stream: 2, Tag: 15, Deadline: deadline}, 1)                  // F4, SSN 0

	s.now = deadline.Add(-1)
	if !s.again(t, 0xFFFFFFF0) {
		t.Fatal("given up before its time")
	}
	s.now = deadline
	if s.again(t, 0xFFFFFFF0) {
		t.Fatal("sent again after its time")
	}
	point, streams := forwardOf(t, s.a)
	if point != 0xFFFFFFF0 || streams[1] != 0 || len(streams) != 1 {
		t.Errorf("told to skip to %x, streams %v", point, streams)
	}
	_, given := events(s.a)
	if d := cmp.Diff([]GivenUp{{1, 1, 11}}, given); d != "" {
		t.Error(d)
	}
	// The others follow when the engine comes to them; the same point is not
	// told again at once.
	for tsn := uint32(0xFFFFFFF1); tsn <= 0xFFFFFFF2; tsn++ {
		if s.transmit(t, wire.Data{Flags: whole, TSN: tsn, Stream: uint16(tsn - 0xFFFFFFF0), User: []byte("abcd")}); s.a.sent.fragments.len() != 5 {
			t.Fatal("in flight")
		}
	}
	list := packets(t, s.a)
	c, _ := chunkOf(list[len(list)-1], wire.ForwardTSN)
	if want := unhex(t, "fffffff2 00010001"); string(c.Value) != string(want) {
		t.Errorf("skip % x, want % x", c.Value, want)
	}
	if !s.again(t, 0xFFFFFFF3) {
		t.Error("a reliable message was given up")
	}
	if s.again(t, 0xFFFFFFF4) {
		t.Error("sent again after its time")
	}
	if p := packets(t, s.a); len(p) != 0 {
		t.Errorf("skips over what is not given up: %x", p)
	}
	// The peer skipped: what is left is F3, then the point moves on.
	if len(s.sack(0xFFFFFFF2, 1000)) == 0 {
		t.Error("the engine does not hear of it")
	}
	if p := packets(t, s.a); len(p) != 0 {
		t.Errorf("sent %x", p)
	}
	s.sack(0xFFFFFFF3, 1000)
	if point, streams := forwardOf(t, s.a); point != 0xFFFFFFF4 || streams[2] != 0 {
		t.Errorf("told to skip to %x, %v", point, streams)
	}
	s.sack(0xFFFFFFF4, 1000)
	if s.a.Settled() != 5 || s.a.Counts().Abandoned != 4 {
		t.Errorf("settled %d, abandoned %d", s.a.Settled(), s.a.Counts().Abandoned)
	}
}

// RFC 3758, Section 3.5: a FORWARD TSN that got lost is sent again when the
// engine tries to retransmit.
func TestPartialReliability_ForwardIsRepeated(t *testing.T) {
	s := newSender(t, 1, true)
	s.put(t, Message{Deadline: epoch.Add(time.Second)}, 1)
	s.now = epoch.Add(2 * time.Second)
	s.again(t, 0xFFFFFFF0)
	forwardOf(t, s.a)
	s.again(t, 0xFFFFFFF0)
	if p := packets(t, s.a); len(p) != 0 {
		t.Error("repeated at once")
	}
	s.now = s.now.Add(quick.RTOInitial)
	s.again(t, 0xFFFFFFF0)
	forwardOf(t, s.a)
}

// RFC 3758, Section 3.3: without FORWARD TSN at the peer every message is
// reliable.
func TestPartialReliability_PeerHasNone(t *testing.T) {
	s := newSender(t, 1, false)
	s.put(t, Message{Deadline: epoch.Add(time.Second)}, 1)
	s.now = epoch.Add(time.Hour)
	if !s.again(t, 0xFFFFFFF0) {
		t.Error("given up")
	}
}

// RFC 3758, Section 4.1: a lifetime may be over before the first transmission;
// of a message half sent nothing more is sent.
func TestPartialReliability_UnsentAndFragments(t *testing.T) {
	s := newSender(t, 1, true)
	m := Message{Deadline: epoch.Add(time.Second), Size: 12, Tag: 5}
	s.a.Enter(&m)
	d := wire.Data{Flags: wire.FlagBegin, TSN: 0xFFFFFFF0, User: []byte("abcd")}
	if _, ok := s.transmit(t, d); !ok {
		t.Fatal("first fragment not sent")
	}
	s.now = epoch.Add(time.Second)
	for i, flags := range []byte{0, wire.FlagEnd} {
		if _, ok := s.transmit(t, wire.Data{Flags: flags, TSN: 0xFFFFFFF1 + uint32(i), User: []byte("abcd")}); ok {
			t.Fatal("sent after its time")
		}
	}
	s.tsn = 0xFFFFFFF3
	if sent := s.put(t, Message{Deadline: epoch.Add(time.Second)}, 1); len(sent) != 0 {
		t.Error("a message whose time was over was sent")
	}
	list := packets(t, s.a)
	if len(list) == 0 {
		t.Fatal("the peer is not told")
	}
	s.sack(0xFFFFFFF3, 1000)
	if _, given := events(s.a); len(given) != 2 || s.a.Settled() != 2 {
		t.Errorf("given up %v, settled %d", given, s.a.Settled())
	}
}
