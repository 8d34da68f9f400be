package shim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
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

// The ledger agrees with a plain model of it under random traffic: messages
// entered, cut, lost, retransmitted, acknowledged in any order, given up.
func TestLedger_Model(t *testing.T) {
	for n := range 200 {
		t.Run(fmt.Sprint(n), func(t *testing.T) { modelRun(t, rand.New(rand.NewPCG(uint64(n), 1))) })
	}
}

// modelMessage is a message in the model: the TSNs of its chunks.
type modelMessage struct {
	tsns   []uint32
	chunks int
	failed bool
	over   time.Time
}

func modelRun(t *testing.T, r *rand.Rand) {
	s := newSender(t, 4, true)
	var (
		messages []modelMessage
		received = map[uint32]bool{} // at the peer
		skipped  uint32              // the peer's cumulative point
		cut      = 0
	)
	base := uint32(0xFFFFFFF0)
	skipped = base - 1
	settledWant := func() (n uint64) {
		for _, m := range messages {
			if len(m.tsns) < m.chunks || !done(m, skipped) {
				break
			}
			n++
		}
		return n
	}
	send := func(tsn uint32, m *modelMessage, flags byte, stream uint16) {
		if _, ok := s.transmit(t, wire.Data{Flags: flags, TSN: tsn, Stream: stream, User: []byte("abcd")}); ok {
			if m.failed {
				t.Fatalf("TSN %x sent of a message given up", tsn)
			}
			if r.IntN(3) > 0 {
				received[tsn] = true
			}
		} else if !after(tsn, skipped) {
			return
		} else if m.over.IsZero() || s.now.Before(m.over) {
			t.Fatalf("TSN %x of a message in time was taken out", tsn)
		}
	}
	streamOf := func(i int) uint16 { return uint16(i % 4) }
	for range 400 {
		s.now = s.now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		switch r.IntN(5) {
		case 0: // enter
			m := modelMessage{chunks: 1 + r.IntN(3)}
			e := Message{Stream: streamOf(len(messages)), Unordered: r.IntN(2) == 0, Size: 4 * m.chunks, Tag: uint32(len(messages))}
			if r.IntN(2) == 0 {
				m.over = s.now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
				e.Deadline = m.over
			}
			s.a.Enter(&e)
			messages = append(messages, m)
		case 1: // cut the next chunk
			if cut < len(messages) {
				m := &messages[cut]
				flags := byte(0)
				if len(m.tsns) == 0 {
					flags |= wire.FlagBegin
				}
				m.tsns = append(m.tsns, s.tsn)
				s.tsn++
				if len(m.tsns) == m.chunks {
					flags |= wire.FlagEnd
				}
				send(m.tsns[len(m.tsns)-1], m, flags, streamOf(cut))
				if len(m.tsns) == m.chunks {
					cut++
				}
			}
		case 2: // retransmit something
			if len(messages) > 0 {
				i := r.IntN(len(messages))
				m := &messages[i]
				if len(m.tsns) > 0 {
					k := r.IntN(len(m.tsns))
					flags := byte(0)
					if k == 0 {
						flags |= wire.FlagBegin
					}
					if k == m.chunks-1 {
						flags |= wire.FlagEnd
					}
					send(m.tsns[k], m, flags, streamOf(i))
				}
			}
		case 3: // the peer takes a FORWARD TSN
			for _, p := range packets(t, s.a) {
				if c, ok := chunkOf(p, wire.ForwardTSN); ok {
					point := binary.BigEndian.Uint32(c.Value)
					for tsn := skipped + 1; !after(tsn, point); tsn++ {
						if !owner(messages, tsn).failed {
							t.Fatalf("skips TSN %x, which was not given up", tsn)
						}
					}
					if after(point, skipped) {
						skipped = point
					}
				}
			}
		case 4: // the peer acknowledges
			for received[skipped+1] {
				skipped++
			}
			var gaps []uint16
			for tsn := skipped + 2; after(s.tsn, tsn) && len(gaps) < 20; tsn++ {
				if received[tsn] {
					start := tsn
					for received[tsn+1] {
						tsn++
					}
					gaps = append(gaps, uint16(start-skipped), uint16(tsn-skipped))
				}
			}
			if len(s.sack(skipped, 1000, gaps...)) == 0 {
				t.Fatalf("SACK refused: %v", s.a.Counts().Drops.Map())
			}
			if got, want := s.a.Settled(), settledWant(); got != want {
				t.Fatalf("settled %d, want %d", got, want)
			}
		}
		_, given := events(s.a)
		for _, g := range given {
			m := &messages[g.Number-1]
			if m.failed || m.over.IsZero() || s.now.Before(m.over) || g.Tag != uint32(g.Number-1) {
				t.Fatalf("given up: %+v, %+v", g, m)
			}
			m.failed = true
		}
	}
	if s.a.End().Reason != EndNone {
		t.Fatalf("ended: %+v", s.a.End())
	}
}

func done(m modelMessage, skipped uint32) bool {
	return !slices.ContainsFunc(m.tsns, func(tsn uint32) bool { return after(tsn, skipped) })
}

func owner(messages []modelMessage, tsn uint32) *modelMessage {
	for i := range messages {
		if slices.Contains(messages[i].tsns, tsn) {
			return &messages[i]
		}
	}
	return &modelMessage{}
}
