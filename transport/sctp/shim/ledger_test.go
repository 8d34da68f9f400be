package shim

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport/sctp/wire"
)

// sender drives the sending half of an Association as an engine does.
type sender struct {
	a   *Association
	tsn uint32
	now time.Time
}

func newSender(t testing.TB, out uint16, forward bool) *sender {
	a := NewAssociation(epoch, Terms{
		LocalPort: clientPort, PeerPort: serverPort, LocalTag: 1, PeerTag: 2,
		LocalTSN: 0xFFFFFFF0, PeerTSN: 500, Out: out, In: out, ForwardTSN: forward,
	}, config(t))
	return &sender{a, 0xFFFFFFF0, epoch}
}

// put enters a message and sends it in so many chunks; it returns what went on
// the wire of each.
func (s *sender) put(t testing.TB, m Message, chunks int) (sent []wire.Data) {
	t.Helper()
	m.Size = 4 * chunks
	s.a.Enter(&m)
	for i := range chunks {
		d := wire.Data{TSN: s.tsn, Stream: m.Stream, SSN: 0xABCD, PPID: 50, User: []byte("abcd")}
		if i == 0 {
			d.Flags |= wire.FlagBegin
		}
		if i == chunks-1 {
			d.Flags |= wire.FlagEnd
		}
		s.tsn++
		if d, ok := s.transmit(t, d); ok {
			sent = append(sent, d)
		}
	}
	return sent
}

// transmit runs one DATA chunk through Outbound.
func (s *sender) transmit(t testing.TB, d wire.Data) (wire.Data, bool) {
	t.Helper()
	out := s.a.Outbound(s.now, engineData(0, d), nil)
	if len(out) == 0 {
		return d, false
	}
	c, ok := chunkOf(out, wire.DATA)
	if h, _ := wire.ParseHeader(out); !ok || !wire.ChecksumOK(out) || (h != wire.Header{Src: clientPort, Dst: serverPort, Tag: 2}) {
		t.Fatalf("sent %x", out)
	}
	return wireData(c), true
}

func wireData(c wire.Chunk) wire.Data {
	d, _ := wire.ParseData(&c)
	return d
}

// again retransmits the single-chunk message of a TSN.
func (s *sender) again(t testing.TB, tsn uint32) bool {
	t.Helper()
	_, ok := s.transmit(t, wire.Data{Flags: whole, TSN: tsn, User: []byte("abcd")})
	return ok
}

func (s *sender) sack(cumulative, window uint32, gaps ...uint16) []byte {
	return s.a.Inbound(s.now, rawPacket(s.a, sackChunk(cumulative, window, gaps...)), nil)
}

// What the engine calls ordered and reliable gets the message's own properties
// on the wire, fragment by fragment, and stream sequence numbers count ordered
// messages of the stream alone (RFC 9260, Sections 6.5 and 6.6).
func TestOutbound_DressesData(t *testing.T) {
	s := newSender(t, 3, true)
	type seen struct {
		TSN, PPID uint32
		Stream    uint16
		SSN       uint16
		Flags     byte
	}
	var got []seen
	for _, m := range []struct {
		Message
		chunks int
	}{
		{Message{Stream: 1, PPID: 7}, 1},
		{Message{Stream: 1, PPID: 8, Unordered: true}, 2},
		{Message{Stream: 2, PPID: 9, Immediate: true}, 2},
		{Message{Stream: 1}, 1},
	} {
		for _, d := range s.put(t, m.Message, m.chunks) {
			got = append(got, seen{d.TSN, d.PPID, d.Stream, d.SSN, d.Flags})
		}
	}
	const b, e, u, i = wire.FlagBegin, wire.FlagEnd, wire.FlagUnordered, wire.FlagImmediate
	want := []seen{
		{0xFFFFFFF0, 7, 1, 0, b | e},
		{0xFFFFFFF1, 8, 1, 0, b | u},
		{0xFFFFFFF2, 8, 1, 0, e | u},
		{0xFFFFFFF3, 9, 2, 0, b},
		{0xFFFFFFF4, 9, 2, 0, e | i},
		{0xFFFFFFF5, 0, 1, 1, b | e},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A retransmission is the same.
	if d, ok := s.transmit(t, wire.Data{Flags: b, TSN: 0xFFFFFFF1, Stream: 1, PPID: 50, User: []byte("abcd")}); !ok || d.PPID != 8 || d.Flags != b|u {
		t.Errorf("retransmitted as %+v", d)
	}
}

// A message counts as settled when its last chunk is acknowledged cumulatively,
// and those before it are.
func TestSettled(t *testing.T) {
	s := newSender(t, 3, true)
	s.put(t, Message{}, 2) // ...F0, F1
	s.put(t, Message{}, 1) // F2
	s.put(t, Message{}, 1) // F3
	check := func(what string, settled uint64, buffered, inflight int) {
		t.Helper()
		if a := s.a; a.Settled() != settled || a.Buffered() != buffered || a.sent.fragments.len() != inflight {
			t.Errorf("%s: settled %d, buffered %d, in flight %d", what, a.Settled(), a.Buffered(), a.sent.fragments.len())
		}
	}
	check("sent", 0, 16, 4)
	s.sack(0xFFFFFFEF, 1000, 3, 4) // F2 and F3 came, F0 did not
	check("gap blocks", 0, 16, 4)
	s.sack(0xFFFFFFF0, 1000, 2, 3)
	check("half a message", 0, 16, 3)
	s.sack(0xFFFFFFF3, 1000)
	check("all", 3, 0, 0)
	if s.again(t, 0xFFFFFFF1) {
		t.Error("what is acknowledged is sent again")
	}
}

// RFC 9260, Section 6.2.1: acknowledgements of what was never sent, or that
// make no sense, go no further than here; old ones neither.
func TestSACK_Invalid(t *testing.T) {
	s := newSender(t, 3, true)
	for range 4 {
		s.put(t, Message{}, 1) // ...F0 to F3
	}
	if got := s.sack(0xFFFFFFF0, 1000, 2, 2); len(got) == 0 {
		t.Fatal("a valid SACK goes no further")
	}
	for name, in := range map[string][]byte{
		"beyond what was sent":         sackChunk(0xFFFFFFF4, 1000),
		"a block beyond what was sent": sackChunk(0xFFFFFFF0, 1000, 2, 4),
		"a block at 0":                 sackChunk(0xFFFFFFF0, 1000, 0, 1),
		"a block backwards":            sackChunk(0xFFFFFFF0, 1000, 3, 2),
		"blocks that overlap":          sackChunk(0xFFFFFFF0, 1000, 2, 3, 3, 3),
		"truncated":                    wire.AppendChunk(nil, wire.SACKChunk, 0, make([]byte, 11)),
		"counts beyond its length":     wire.AppendChunk(nil, wire.SACKChunk, 0, append(make([]byte, 9), 9, 0, 0)),
	} {
		before := s.a.Counts().Drops.Total()
		if got := s.a.Inbound(s.now, rawPacket(s.a, in), nil); len(got) > 0 || s.a.Counts().Drops.Total() != before+1 {
			t.Errorf("%s: the engine gets %x", name, got)
		}
	}
	before := s.a.Counts().Drops
	if got := s.sack(0xFFFFFFEF, 1000); len(got) > 0 {
		t.Error("a SACK older than the last goes further")
	}
	wantDrops(t, s.a.Counts().Drops, before)
	if s.a.Settled() != 1 {
		t.Errorf("%d settled", s.a.Settled())
	}
}

// At the end of an association, exactly what is not acknowledged fails, in the
// order in which it was sent.
func TestEnd_GivesUpWhatIsNotAcknowledged(t *testing.T) {
	s := newSender(t, 2, true)
	for i := range 6 {
		s.put(t, Message{Stream: uint16(i % 2), Tag: uint32(i)}, 2)
	}
	s.a.Enter(&Message{Tag: 6, Size: 4}) // never cut
	s.sack(0xFFFFFFF4, 1000, 2, 4)       // two messages and a half
	s.a.Abort("enough")
	_, given := events(s.a)
	want := []GivenUp{{3, 0, 2}, {4, 1, 3}, {5, 0, 4}, {6, 1, 5}, {7, 0, 6}}
	if d := cmp.Diff(want, given); d != "" {
		t.Error(d)
	}
	if s.a.Settled() != 7 || s.a.Buffered() != 0 {
		t.Errorf("settled %d, buffered %d", s.a.Settled(), s.a.Buffered())
	}
}

// An engine that sends what was never entered is not followed.
func TestOutbound_EngineLosesStep(t *testing.T) {
	for name, d := range map[string]wire.Data{
		"nothing entered":   {Flags: whole, TSN: 0xFFFFFFF1, User: []byte("a")},
		"a TSN left out":    {Flags: whole, TSN: 0xFFFFFFF2, User: []byte("a")},
		"another stream":    {Flags: whole, TSN: 0xFFFFFFF1, Stream: 1, User: []byte("a")},
		"not its beginning": {Flags: wire.FlagEnd, TSN: 0xFFFFFFF1, User: []byte("a")},
	} {
		s := newSender(t, 2, true)
		s.put(t, Message{}, 1)
		if name != "nothing entered" {
			s.a.Enter(&Message{Size: 1})
		}
		s.transmit(t, d)
		if s.a.End().Reason != EndEngine {
			t.Errorf("%s: %+v", name, s.a.End())
		}
	}
}
