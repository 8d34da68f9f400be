package shim

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport/sctp/wire"
)

// dataChunk is a DATA chunk of the peer's.
func dataChunk(a *Association, offset uint32, stream uint16, flags byte, ppid uint32, user string) []byte {
	d := wire.Data{Flags: flags, TSN: a.terms.PeerTSN + offset, Stream: stream, PPID: ppid, User: []byte(user)}
	return d.Append(nil)
}

// RFC 9260, Section 3.2: what the high bits of an unknown chunk's type ask
// for.
func TestInbound_UnknownChunks(t *testing.T) {
	for _, row := range []struct {
		name   string
		kind   byte
		engine int // chunks the engine gets of three: DATA, this one, DATA
		report bool
	}{
		{"00 stop", 0x3E, 1, false},
		{"01 stop and report", 0x7E, 1, true},
		{"10 skip", 0xBE, 2, false},
		{"11 skip and report", 0xFE, 2, true},
		{"AUTH without SCTP-AUTH", 0x0F, 1, false},
		{"RE-CONFIG", 0x82, 2, false},
		{"I-DATA", 0x40, 1, true},
		{"I-FORWARD-TSN", 0xC2, 2, true},
		{"ASCONF", 0xC1, 2, true},
	} {
		a, _ := couple(t, plainOffer)
		odd := wire.AppendChunk(nil, wire.ChunkType(row.kind), 7, []byte("what?"))
		p := append(dataChunk(a, 0, 0, whole, 0, "a"), odd...)
		p = append(p, dataChunk(a, 1, 0, whole, 0, "b")...)
		if got := types(a.Inbound(epoch, rawPacket(a, p), nil)); len(got) != row.engine {
			t.Errorf("%s: the engine gets %v", row.name, got)
		}
		if n := a.Counts().Drops[DropUnknown]; n != 1 {
			t.Errorf("%s: counted %d times", row.name, n)
		}
		list := packets(t, a)
		if (len(list) == 1) != row.report {
			t.Errorf("%s: %d reports", row.name, len(list))
			continue
		}
		if row.report {
			c, _ := chunkOf(list[0], wire.ErrorChunk)
			if cause, info := wire.FirstCause(c.Value); cause != wire.CauseUnrecognizedChunk || !bytes.Equal(info, odd) {
				t.Errorf("%s: cause %d, %x", row.name, cause, info)
			}
		}
	}
}

// An answer to each of a packet's faults would be an amplifier.
func TestInbound_OneReportAPacket(t *testing.T) {
	a, _ := couple(t, plainOffer)
	var p []byte
	for range 50 {
		p = wire.AppendChunk(p, 0xFE, 0, nil)
	}
	a.Inbound(epoch, rawPacket(a, p), nil)
	if n := len(packets(t, a)); n != 1 || a.Counts().Drops[DropSuppressed] != 49 {
		t.Errorf("%d reports, %v", n, a.Counts().Drops.Map())
	}
	a.Inbound(epoch, rawPacket(a, wire.AppendChunk(nil, 0xFE, 0, make([]byte, maxReported))), nil)
	if n := len(packets(t, a)); n != 0 {
		t.Error("a large chunk is sent back")
	}
}

func TestInbound_Malformed(t *testing.T) {
	a, _ := couple(t, plainOffer)
	good := dataChunk(a, 0, 0, whole, 0, "a")
	for name, chunks := range map[string][]byte{
		"no chunk":             nil,
		"length below header":  append(bytes.Clone(good), 0, 3, 0, 3),
		"length beyond packet": append(bytes.Clone(good), 0, 3, 0, 99, 0, 0, 0, 0),
		"half a header":        append(bytes.Clone(good), 0, 3),
	} {
		before := a.Counts().Drops[DropMalformed]
		if got := a.Inbound(epoch, rawPacket(a, chunks), nil); len(got) > 0 || a.Counts().Drops[DropMalformed] != before+1 {
			t.Errorf("%s: the engine gets %x", name, got)
		}
	}
	// The engine minds padding that is not zero, or missing; receivers must
	// not (RFC 9260, Section 3.2).
	padded := dataChunk(a, 0, 0, whole, 0, "abcde")
	padded[len(padded)-1] = 0xFF
	want := engineData(a.terms.LocalTag)
	want = append(want, dataChunk(a, 0, 0, whole, 0, "abcde"+string(make([]byte, 249))+"\x00\xf9")...)
	for name, chunks := range map[string][]byte{"padding not zero": padded, "padding missing": padded[:len(padded)-3]} {
		if got := a.Inbound(epoch, rawPacket(a, chunks), nil); !bytes.Equal(got, want) {
			t.Errorf("%s: the engine gets %x", name, got)
		}
	}
}

// What the engine does not tell of a message comes back by its identifier.
func TestInbound_PPID(t *testing.T) {
	a, _ := couple(t, plainOffer)
	for _, row := range []struct {
		ppid, want uint32
		flags      byte
	}{
		{0, 0, whole}, {77, 77, whole}, {0, 0, whole | wire.FlagUnordered}, {77, 77, whole | wire.FlagUnordered},
		{0x7FFFFFFE, 0x7FFFFFFE, whole}, {0x80000000, noPPID, whole}, {0xFFFFFFFF, noPPID, whole | wire.FlagUnordered},
	} {
		got := a.Inbound(epoch, rawPacket(a, dataChunk(a, 0, 3, row.flags, row.ppid, "x")), nil)
		c, _ := chunkOf(got, wire.DATA)
		data, ppid, unordered := ReadMessage(wireData(c).User, wireData(c).PPID)
		if ppid != row.want || unordered != (row.flags&wire.FlagUnordered != 0) || string(data) != "x" {
			t.Errorf("%x, flags %x: %x, %v", row.ppid, row.flags, ppid, unordered)
		}
	}
	if d := cmp.Diff([]uint16{3}, a.Touched(nil)); d != "" {
		t.Error(d)
	}
}

// RFC 9260, Section 6.5: DATA on a stream that does not exist is acknowledged,
// reported and not delivered.
func TestInbound_InvalidStream(t *testing.T) {
	a, _ := couple(t, plainOffer)
	got := a.Inbound(epoch, rawPacket(a, dataChunk(a, 5, 10, wire.FlagBegin, 0, strings.Repeat("secret", 20))), nil)
	c, _ := chunkOf(got, wire.DATA)
	if d := wireData(c); d.Stream != SinkStream || d.TSN != a.terms.PeerTSN+5 || d.Flags != whole|wire.FlagUnordered || len(d.User) != leastChunk {
		t.Errorf("the engine gets %+v", d)
	}
	list := packets(t, a)
	if len(list) != 1 {
		t.Fatal("not reported")
	}
	c, _ = chunkOf(list[0], wire.ErrorChunk)
	if cause, info := wire.FirstCause(c.Value); cause != wire.CauseInvalidStream || !bytes.Equal(info, []byte{0, 10, 0, 0}) {
		t.Errorf("cause %d, % x", cause, info)
	}
	// FORWARD TSN loses streams that do not exist.
	forward := wire.AppendChunk(nil, wire.ForwardTSN, 0, unhex(t, "00000001 00020003 00630001 00040005"))
	c, _ = chunkOf(a.Inbound(epoch, rawPacket(a, forward), nil), wire.ForwardTSN)
	if want := unhex(t, "00000001 00020003 00040005"); !bytes.Equal(c.Value, want) || a.Counts().Drops[DropStream] != 2 {
		t.Errorf("the engine gets % x", c.Value)
	}
}

// RFC 9260, Section 6.2: DATA without user data ends the association.
func TestInbound_EmptyData(t *testing.T) {
	a, _ := couple(t, plainOffer)
	a.Inbound(epoch, rawPacket(a, dataChunk(a, 9, 0, whole, 0, "")), nil)
	if a.End().Reason != EndViolation || a.End().Cause != wire.CauseNoUserData {
		t.Fatalf("%+v", a.End())
	}
	list := packets(t, a)
	c, ok := chunkOf(list[0], wire.Abort)
	if cause, info := wire.FirstCause(c.Value); !ok || cause != wire.CauseNoUserData || binary.BigEndian.Uint32(info) != a.terms.PeerTSN+9 {
		t.Errorf("cause %d, % x", cause, info)
	}
}

// A packet that is larger than what the engine reads becomes several; a chunk
// that is ends the association with a reason instead of being lost for ever.
func TestInbound_LargePackets(t *testing.T) {
	a, _ := couple(t, plainOffer)
	var p []byte
	for i := range uint32(10) {
		p = append(p, dataChunk(a, i, 0, whole, 0, string(make([]byte, 2000)))...)
	}
	n := 0
	buf := make([]byte, 0, EngineMaxPacket)
	for got := a.Inbound(epoch, rawPacket(a, p), buf); len(got) > 0; got = a.Resume(epoch, buf) {
		if len(got) > EngineMaxPacket || !wire.WellFormed(got) {
			t.Fatalf("%d octets at once", len(got))
		}
		n += len(types(got))
	}
	if n != 10 {
		t.Errorf("%d chunks of 10", n)
	}
	a.Inbound(epoch, rawPacket(a, dataChunk(a, 10, 0, whole, 0, string(make([]byte, EngineMaxPacket)))), buf)
	if a.End().Reason != EndViolation || a.Counts().Drops[DropOversized] != 1 {
		t.Errorf("%+v", a.End())
	}
}

// RFC 9260, Section 8.5.1: the T bit and the two tags.
func TestInbound_Tags(t *testing.T) {
	for _, row := range []struct {
		name      string
		chunk     wire.ChunkType
		flags     byte
		reflected bool // bears the peer's tag
		ends      bool
	}{
		{"ABORT, our tag", wire.Abort, 0, false, true},
		{"ABORT with T, the peer's tag", wire.Abort, wire.FlagT, true, true},
		{"ABORT, the peer's tag", wire.Abort, 0, true, false},
		{"ABORT with T, our tag", wire.Abort, wire.FlagT, false, false},
		{"SHUTDOWN COMPLETE, our tag", wire.ShutdownComplete, 0, false, true},
		{"SHUTDOWN COMPLETE with T, the peer's tag", wire.ShutdownComplete, wire.FlagT, true, true},
		{"SHUTDOWN COMPLETE, the peer's tag", wire.ShutdownComplete, 0, true, false},
		{"DATA, the peer's tag", wire.DATA, 0, true, false},
	} {
		a, _ := couple(t, plainOffer)
		a.shutdownAckSent = true
		p := rawPacket(a, wire.AppendChunk(nil, row.chunk, row.flags, nil))
		if row.reflected {
			binary.BigEndian.PutUint32(p[4:], a.terms.PeerTag)
		}
		got := a.Inbound(epoch, p, nil)
		if ended := a.End().Reason != EndNone; ended != row.ends || len(got) > 0 {
			t.Errorf("%s: ended %v", row.name, ended)
		}
	}
	a, _ := couple(t, plainOffer)
	a.Inbound(epoch, rawPacket(a, wire.AppendChunk(nil, wire.ShutdownComplete, 0, nil)), nil)
	if a.End().Reason != EndNone {
		t.Error("SHUTDOWN COMPLETE out of turn ends the association")
	}
	for _, kind := range []wire.ChunkType{wire.InitAck, wire.ShutdownAck} {
		a.Inbound(epoch, rawPacket(a, wire.AppendChunk(nil, kind, 0, nil)), nil)
	}
	if n := a.Counts().Drops[DropUnexpected]; n != 3 {
		t.Errorf("%d out of turn, want 3", n)
	}
}

// The reason of the peer's ABORT is told, fit to be printed.
func TestInbound_AbortReason(t *testing.T) {
	a, _ := couple(t, plainOffer)
	a.Inbound(epoch, rawPacket(a, wire.AppendChunk(nil, wire.Abort, 0, wire.AppendCause(nil, wire.CauseUserAbort, []byte("no\x1b[2J\xff")))), nil)
	want := End{Reason: EndAborted, Cause: wire.CauseUserAbort, Text: "no?[2J?"}
	if d := cmp.Diff(want, a.End()); d != "" {
		t.Error(d)
	}
	if p := packets(t, a); len(p) != 0 {
		t.Error("an ABORT is answered (RFC 9260, Section 9.1)")
	}
}

// RFC 9260, Section 8.3: a HEARTBEAT comes back as it was, whatever is in it.
func TestInbound_Heartbeat(t *testing.T) {
	a, _ := couple(t, authOffer())
	for _, info := range [][]byte{nil, {1}, bytes.Repeat([]byte{7}, 1000)} {
		a.Inbound(epoch, rawPacket(a, wire.AppendChunk(nil, wire.Heartbeat, 0, info)), nil)
		list := packets(t, a)
		if len(list) != 1 {
			t.Fatal("not answered")
		}
		if c, _ := chunkOf(list[0], wire.HeartbeatAck); !bytes.Equal(c.Value, info) {
			t.Errorf("% x for % x", c.Value, info)
		}
	}
	for range maxOwn + 10 {
		a.Inbound(epoch, rawPacket(a, wire.AppendChunk(nil, wire.Heartbeat, 0, nil)), nil)
	}
	if n := len(packets(t, a)); n != maxOwn || a.Counts().Drops[DropQueue] != 10 {
		t.Errorf("%d wait to be sent, %v", n, a.Counts().Drops.Map())
	}
}

// RFC 9260, Section 9.2: SHUTDOWN acknowledges, is told of, and what follows
// ends the association in order on both sides.
func TestShutdown(t *testing.T) {
	s := newSender(t, 1, true)
	s.put(t, Message{}, 1)
	bad := wire.AppendChunk(nil, wire.Shutdown, 0, unhex(t, "fffffff5"))
	if got := s.a.Inbound(epoch, rawPacket(s.a, bad), nil); len(got) > 0 {
		t.Error("a SHUTDOWN that acknowledges what was not sent is taken")
	}
	got := s.a.Inbound(epoch, rawPacket(s.a, wire.AppendChunk(nil, wire.Shutdown, 0, unhex(t, "fffffff0"))), nil)
	if len(types(got)) != 1 || s.a.Settled() != 1 {
		t.Errorf("the engine gets %v; settled %d", types(got), s.a.Settled())
	}
	if kinds, _ := events(s.a); len(kinds) != 1 || kinds[0] != EventPeerShutdown {
		t.Errorf("told %v", kinds)
	}
	out := s.a.Outbound(epoch, engineChunk(wire.ShutdownAck), nil)
	if len(types(out)) != 1 {
		t.Fatalf("sent %v", types(out))
	}
	if !s.a.Next().IsZero() {
		t.Error("heartbeats go on after SHUTDOWN ACK (RFC 9260, Section 8.3)")
	}
	s.a.Inbound(epoch, rawPacket(s.a, wire.AppendChunk(nil, wire.ShutdownComplete, 0, nil)), nil)
	if d := cmp.Diff(End{Reason: EndShutdown, ByPeer: true}, s.a.End()); d != "" {
		t.Error(d)
	}

	other := newSender(t, 1, true)
	other.a.Outbound(epoch, append(engineChunk(wire.Shutdown), 0, 0, 0, 0), nil)
	if got := other.a.Inbound(epoch, rawPacket(other.a, wire.AppendChunk(nil, wire.ShutdownAck, 0, nil)), nil); len(got) == 0 {
		t.Error("SHUTDOWN ACK does not reach the engine")
	}
	hasty := *other.a // an ABORT comes before the engine has answered
	hasty.Inbound(epoch, rawPacket(&hasty, wire.AppendChunk(nil, wire.Abort, 0, nil)), nil)
	if d := cmp.Diff(End{Reason: EndShutdown}, hasty.End()); d != "" {
		t.Error(d)
	}
	if out := other.a.Outbound(epoch, engineChunk(wire.ShutdownComplete), nil); len(out) == 0 {
		t.Error("SHUTDOWN COMPLETE is not sent")
	}
	if d := cmp.Diff(End{Reason: EndShutdown}, other.a.End()); d != "" {
		t.Error(d)
	}
}

func engineChunk(t wire.ChunkType) []byte {
	return wire.AppendChunk(wire.Header{Src: EnginePort, Dst: EnginePort}.Append(nil), t, 0, nil)
}

// RFC 9260, Section 9.2: SHUTDOWN and SHUTDOWN ACK sent again count as
// timeouts; the end that the peer began is an orderly one even then.
func TestShutdown_Unanswered(t *testing.T) {
	for _, byPeer := range []bool{false, true} {
		s := newSender(t, 1, true)
		kind := wire.Shutdown
		if byPeer {
			s.a.Inbound(epoch, rawPacket(s.a, wire.AppendChunk(nil, wire.Shutdown, 0, unhex(t, "ffffffef"))), nil)
			kind = wire.ShutdownAck
		}
		now, sent := epoch, 0
		for ; s.a.End().Reason == EndNone && sent < 100; sent++ {
			s.a.Outbound(now, engineChunk(kind), nil)
			s.a.Outbound(now.Add(time.Millisecond), engineChunk(kind), nil) // not for a timeout
			now = now.Add(quick.RTOMax)
		}
		want := End{Reason: EndLost}
		if byPeer {
			want = End{Reason: EndShutdown, ByPeer: true}
		}
		if d := cmp.Diff(want, s.a.End()); d != "" || sent != quick.MaxRetransmits+2 {
			t.Errorf("by the peer %v: after %d: %s", byPeer, sent, d)
		}
	}
}

// A peer that asked for the end and does not answer while it has yet to
// acknowledge something is lost: that is no orderly end, and what it did not
// acknowledge is told.
func TestShutdown_PeerLost(t *testing.T) {
	s := newSender(t, 1, true)
	s.put(t, Message{Tag: 7}, 1)
	s.a.Inbound(epoch, rawPacket(s.a, wire.AppendChunk(nil, wire.Shutdown, 0, unhex(t, "ffffffef"))), nil)
	if ev, ok := s.a.Event(); !ok || ev.Kind != EventPeerShutdown {
		t.Fatalf("told %+v", ev)
	}
	for range 10 * quick.MaxRetransmits {
		s.a.Advance(s.a.Next())
	}
	if d := cmp.Diff(End{Reason: EndLost}, s.a.End()); d != "" {
		t.Error(d)
	}
	var last Event
	for ev, ok := s.a.Event(); ok; ev, ok = s.a.Event() {
		last = ev
	}
	if last.Kind != EventGivenUp || last.GivenUp.Tag != 7 || last.GivenUp.Number != 1 {
		t.Errorf("told last: %+v", last)
	}
}

// The engine's heartbeats, handshake and FORWARD TSN never reach the wire.
func TestOutbound_OnlyWhatIsFit(t *testing.T) {
	a, _ := couple(t, plainOffer)
	for _, kind := range []wire.ChunkType{wire.INIT, wire.InitAck, wire.Heartbeat, wire.HeartbeatAck, wire.CookieEcho, wire.CookieAck,
		wire.ForwardTSN, wire.ErrorChunk, 0x82, 0x40} {
		if out := a.Outbound(epoch, engineChunk(kind), nil); len(out) > 0 {
			t.Errorf("type %d is sent: %x", kind, out)
		}
	}
}

// A message that can never fit shows as a closed window with nothing missing.
func TestOutbound_WindowShut(t *testing.T) {
	a, _ := couple(t, plainOffer)
	for _, row := range []struct {
		chunk []byte
		want  bool
	}{
		{sackChunk(5, 1), false}, {sackChunk(5, 0), true}, {sackChunk(5, 0, 2, 3), false},
	} {
		a.Outbound(epoch, append(wire.Header{}.Append(nil), row.chunk...), nil)
		if a.WindowShut() != row.want {
			t.Errorf("%x: %v", row.chunk, a.WindowShut())
		}
	}
}

// What a peer can have kept is bounded by the receive buffer, however small its
// chunks are: the last of a message counts as leastChunk octets at least, the
// others cannot be tiny.
func TestInbound_SmallChunksCount(t *testing.T) {
	a, _ := couple(t, plainOffer)
	buf := make([]byte, 0, EngineMaxPacket)
	for _, size := range []int{1, leastChunk - trailerLen - 1, leastChunk - trailerLen, leastChunk, 1400} {
		text := strings.Repeat("m", size)
		c, _ := chunkOf(a.Inbound(epoch, rawPacket(a, dataChunk(a, 0, 0, wire.FlagEnd, 0, text)), buf), wire.DATA)
		user := wireData(c).User
		if data, _, _ := ReadMessage(user, 0); len(user) < leastChunk || len(user) > max(leastChunk, size+trailerLen) || string(data) != text {
			t.Errorf("%d octets: the engine keeps %d, %d are read", size, len(user), len(data))
		}
	}
	many := []byte{}
	for range 300 { // more than fits one packet of the engine
		many = append(many, dataChunk(a, 0, 0, whole, 0, "x")...)
	}
	n := 0
	for got := a.Inbound(epoch, rawPacket(a, many), buf); len(got) > 0; got = a.Resume(epoch, buf) {
		n += len(types(got))
	}
	if n != 300 {
		t.Errorf("%d chunks of 300", n)
	}
	a.Inbound(epoch, rawPacket(a, dataChunk(a, 0, 0, wire.FlagBegin, 0, strings.Repeat("f", leastFragment))), buf)
	if a.End().Reason != EndNone {
		t.Fatalf("%+v", a.End())
	}
	a.Inbound(epoch, rawPacket(a, dataChunk(a, 0, 0, wire.FlagBegin, 0, strings.Repeat("f", leastFragment-1))), buf)
	if a.End().Reason != EndViolation {
		t.Errorf("%+v after a tiny fragment", a.End())
	}
	// A trailer that says more than there is takes everything, not more.
	if data, _, _ := ReadMessage([]byte{1, 2, 0xFF, 0xFF}, 0); len(data) != 0 {
		t.Errorf("%x", data)
	}
	if data, _, _ := ReadMessage([]byte{1}, 0); len(data) != 0 {
		t.Errorf("%x", data)
	}
}
