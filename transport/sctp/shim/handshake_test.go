package shim

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport/sctp/wire"
)

// RFC 9260, Section 5.1.1: each direction has as many streams as both sides
// allow; both sides come to the same terms.
func TestHandshake_Terms(t *testing.T) {
	for _, auth := range []bool{false, true} {
		client := Offer{Out: 20, In: 5, Window: 100_000, Auth: auth}
		server := Offer{Out: 7, In: 12, Window: 200_000, Auth: auth}
		c, s := shake(t, client, server)
		mirrored := Terms{
			LocalPort: s.PeerPort, PeerPort: s.LocalPort,
			LocalTag: s.PeerTag, PeerTag: s.LocalTag,
			LocalTSN: s.PeerTSN, PeerTSN: s.LocalTSN,
			LocalWindow: s.PeerWindow, PeerWindow: s.LocalWindow,
			Out: s.In, In: s.Out, ForwardTSN: true,
		}
		if auth {
			mirrored.Auth = &AuthTerms{
				Own: s.Auth.Peer, Peer: s.Auth.Own,
				Mine: s.Auth.Mine, Theirs: s.Auth.Theirs, HMAC: wire.HMACSHA256,
			}
		}
		if d := cmp.Diff(mirrored, c); d != "" {
			t.Errorf("auth %v: %s", auth, d)
		}
		if c.Out != 12 || c.In != 5 {
			t.Errorf("%d streams out, %d in", c.Out, c.In)
		}
		if auth && !bytes.Equal(c.Auth.Theirs.Types(), demanded) {
			t.Errorf("the server demands % x authenticated", c.Auth.Theirs.Types())
		}
	}
}

// linuxInitAck is what a Linux 6.1 kernel answered to an INIT with the tag
// 49a8f280 from port a404; linuxEcho the COOKIE ECHO that a second one sent then.
const (
	linuxInitAck = `1284 a404 49a8f280 00000000
		02 00 017e bc4feea1 0001a000 000a 000a c5be4c4b
		0007 0128 1b0bb88cb5506dcf1b71883e35c9e38ca65c6eb400000000000000000000000000000000a1ee4fbc80f2a8490000
		00000000000046639d22bcd0e9180a000a004b4cbec50200a4047f0000010000000000000000000000000000000000000000
		841201000000000080020024599fc76fc26ab50d3a7fcccf573e53f5b7e6f62879bebc1b438fe98613729454800400080003
		000100008003000600c000000000000000000000000000000000000000000100005e49a8f2800001a000000a000aa3ef861b
		000c00060005000080000004800800050f000000c0000004800200241247f0d0dfa3c1fcc7f5217fb61f4d558a991fe89b7e
		6d143e2254dcbdccd69480040008000300018003000600c0000000000000000000000000000000000000000000
		0080000004800800050f000000c000000480020024599fc76fc26ab50d3a7fcccf573e53f5b7e6f62879bebc1b438fe98613
		72945480040008000300018003000600c00000`
	linuxPort       = 0xa404
	linuxServerPort = 0x1284
	linuxTag        = 0x49a8f280
)

// A kernel's INIT ACK is understood, and its cookie comes back to it octet by
// octet.
func TestInitiator_KernelInitAck(t *testing.T) {
	ack := unhex(t, linuxInitAck)
	i := NewInitiator(epoch, authOffer(), quick, linuxPort, linuxServerPort, linuxTag, seed(1))
	i.Packet(nil)
	i.Receive(epoch, ack)
	echo, ok := i.Packet(nil)
	if !ok || !wire.ChecksumOK(echo) {
		t.Fatalf("no COOKIE ECHO; dropped %v", i.Drops.Map())
	}
	h, _ := wire.ParseHeader(echo)
	c, _ := chunkOf(echo, wire.CookieEcho)
	cookie := ack[wire.HeaderLen+4+16+4:][:0x128-4]
	if h.Tag != 0xbc4feea1 || !bytes.Equal(c.Value, cookie) || len(types(echo)) != 1 {
		t.Errorf("COOKIE ECHO %x", echo)
	}
	terms, _, _, _ := i.Result()
	if terms.Auth == nil || terms.Auth.HMAC != wire.HMACSHA256 || !terms.ForwardTSN || terms.PeerTSN != 0xc5be4c4b {
		t.Errorf("%+v", terms)
	}
}

// RFC 9260, Section 5.1.6 and 16: INIT and COOKIE ECHO are sent again with
// backoff, a limited number of times.
func TestInitiator_Retransmits(t *testing.T) {
	now := epoch
	i := NewInitiator(now, plainOffer, quick, clientPort, serverPort, 7, seed(1))
	var gaps []time.Duration
	last := now
	for sent := 0; ; {
		if p, ok := i.Packet(nil); ok {
			if types(p)[0] != wire.INIT {
				t.Fatalf("%v", types(p))
			}
			gaps = append(gaps, now.Sub(last))
			last = now
			sent++
		}
		if _, _, done, err := i.Result(); done {
			if !errors.Is(err, ErrNoAnswer) {
				t.Errorf("ended with %v", err)
			}
			break
		}
		now = i.Next()
		i.Advance(now)
	}
	s := time.Second
	want := []time.Duration{0, 1 * s, 2 * s, 4 * s, 4 * s, 4 * s, 4 * s, 4 * s, 4 * s}
	if d := cmp.Diff(want, gaps); d != "" {
		t.Error(d)
	}
}

func TestInitiator_Refused(t *testing.T) {
	for _, row := range []struct {
		name, chunks string
		want         string
	}{
		{"nobody listens", "06000004", "refused by the peer"},
		{"a reason", "0600000b 000c0007 6e6f21", `refused by the peer: "no!"`},
		{"a cause", "06000008 00040004", "refused by the peer, cause 4"},
	} {
		i := NewInitiator(epoch, plainOffer, quick, clientPort, serverPort, 7, seed(1))
		p := append(wire.Header{Src: serverPort, Dst: clientPort, Tag: 7}.Append(nil), unhex(t, row.chunks)...)
		reflected := bytes.Clone(p)
		reflected[wire.HeaderLen+1] = wire.FlagT
		i.Receive(epoch, reflected)
		if _, _, done, _ := i.Result(); done {
			t.Errorf("%s: an ABORT with the T bit and our own tag ends the handshake (RFC 9260, Section 8.5.1)", row.name)
		}
		i.Receive(epoch, p)
		_, _, done, err := i.Result()
		if _, refused := errors.AsType[*RefusedError](err); !done || !refused || err.Error() != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// RFC 4895, Section 6.1: what is demanded authenticated can only be had of a
// peer that takes part.
func TestHandshake_AuthIsDemanded(t *testing.T) {
	r := NewResponder(epoch, authOffer(), serverPort, seed(2))
	i := NewInitiator(epoch, plainOffer, quick, clientPort, serverPort, 7, seed(1))
	init, _ := i.Packet(nil)
	answer, drop, ok := r.Init(epoch, clientA, init, Existing{}, nil)
	if !ok || drop != DropInit || types(answer)[0] != wire.Abort {
		t.Fatalf("a plain INIT gets %v", types(answer))
	}
	i.Receive(epoch, answer)
	if _, _, done, err := i.Result(); !done || err == nil || err.Error() != `refused by the peer: "SCTP-AUTH is required"` {
		t.Errorf("the client is told %v", err)
	}

	r = NewResponder(epoch, plainOffer, serverPort, seed(2))
	i = NewInitiator(epoch, authOffer(), quick, clientPort, serverPort, 7, seed(1))
	init, _ = i.Packet(nil)
	answer, _, _ = r.Init(epoch, clientA, init, Existing{}, nil)
	i.Receive(epoch, answer)
	if _, _, _, err := i.Result(); !errors.Is(err, ErrPeerNoAuth) {
		t.Errorf("a plain server: %v", err)
	}
	if p, ok := i.Packet(nil); !ok || types(p)[0] != wire.Abort {
		t.Errorf("the server is sent %v", types(p))
	}
}

// initPacket is an INIT with parameters.
func initPacket(tag uint32, out, in uint16, params []byte) []byte {
	b := wire.Header{Src: clientPort, Dst: serverPort}.Append(nil)
	b = wire.BeginChunk(b, wire.INIT, 0)
	init := wire.Init{Tag: tag, Window: 1 << 16, Out: out, In: in, TSN: 1}
	b = append(init.AppendFixed(b), params...)
	return wire.EndChunk(b, wire.HeaderLen)
}

// RFC 9260, Sections 3.3.2, 5.1 and 8.5.1: which INITs are refused and which
// not answered at all.
func TestResponder_BadInit(t *testing.T) {
	r := NewResponder(epoch, plainOffer, serverPort, seed(2))
	tagged := initPacket(5, 1, 1, nil)
	tagged[7] = 1
	bundled := wire.AppendChunk(initPacket(5, 1, 1, nil), wire.CookieAck, 0, nil)
	for _, row := range []struct {
		name   string
		in     []byte
		answer wire.ChunkType // 0: none
	}{
		{"a tag in the header", tagged, 0},
		{"bundled", bundled, 0},
		{"tag 0", initPacket(0, 1, 1, nil), 0},
		{"no outgoing streams", initPacket(5, 0, 1, nil), wire.Abort},
		{"no incoming streams", initPacket(5, 1, 0, nil), wire.Abort},
		{"host name", initPacket(5, 1, 1, unhex(t, "000b0008 61626300")), wire.Abort},
		{"short random number", initPacket(5, 1, 1, unhex(t, "80020008 01020304")), wire.Abort},
		{"broken parameters", initPacket(5, 1, 1, unhex(t, "c0000003")), 0},
		{"fine", initPacket(5, 1, 1, nil), wire.InitAck},
	} {
		got, drop, ok := r.Init(epoch, clientA, row.in, Existing{}, nil)
		if ok != (row.answer != 0) || ok && types(got)[0] != row.answer {
			t.Errorf("%s: answered %v by %v (%v)", row.name, ok, types(got), drop)
		}
		if h, _ := wire.ParseHeader(got); ok && (h.Tag != 5 || !wire.ChecksumOK(got)) {
			t.Errorf("%s: answer %x", row.name, got)
		}
		if row.answer == wire.Abort && got[wire.HeaderLen+1]&wire.FlagT != 0 {
			t.Errorf("%s: the T bit is set (RFC 9260, Section 8.4, rule 3)", row.name)
		}
	}
}

// RFC 9260, Section 3.2.1: an unknown parameter that asks for it is reported
// in the INIT ACK.
func TestResponder_ReportsUnknownParameters(t *testing.T) {
	r := NewResponder(epoch, plainOffer, serverPort, seed(2))
	unknown := unhex(t, "c0ff0006 abcd0000")
	ack, _, ok := r.Init(epoch, clientA, initPacket(5, 1, 1, unknown), Existing{}, nil)
	if !ok || !bytes.Contains(ack, append(unhex(t, "0008000c"), unknown...)) {
		t.Errorf("INIT ACK %x", ack)
	}
}

// echoOf makes a COOKIE ECHO for a fresh cookie.
func echoOf(t *testing.T, r *Responder, now time.Time, tag uint32, existing Existing) []byte {
	t.Helper()
	i := NewInitiator(now, plainOffer, quick, clientPort, serverPort, tag, seed(byte(tag)))
	init, _ := i.Packet(nil)
	ack, _, _ := r.Init(now, clientA, init, existing, nil)
	i.Receive(now, ack)
	echo, ok := i.Packet(nil)
	if !ok {
		t.Fatal("no COOKIE ECHO")
	}
	return echo
}

// RFC 9260, Section 5.1.5: only a cookie of ours, from where its INIT came
// from, fresh, and not used before, opens an association.
func TestResponder_Cookies(t *testing.T) {
	r := NewResponder(epoch, plainOffer, serverPort, seed(2))
	echo := echoOf(t, r, epoch, 7, Existing{})
	at := func(d time.Duration, from netip.Addr, p []byte) (EchoResult, Drop) {
		_, result, _, drop := r.Echo(epoch.Add(d), from, p, Existing{}, Existing{}, nil)
		return result, drop
	}
	for k := wire.HeaderLen + 4; k < len(echo); k++ {
		forged := bytes.Clone(echo)
		forged[k] ^= 0x10
		if result, _ := at(0, clientA, forged); result != EchoDrop {
			t.Fatalf("octet %d changed: %v", k, result)
		}
	}
	for _, off := range []int{0, 3, 7} { // ports and tag
		forged := bytes.Clone(echo)
		forged[off] ^= 1
		if result, _ := at(0, clientA, forged); result != EchoDrop {
			t.Errorf("header octet %d changed: %v", off, result)
		}
	}
	if result, _ := at(0, netip.MustParseAddr("192.0.2.2"), echo); result != EchoDrop {
		t.Errorf("from another address: %v", result)
	}
	if result, _ := at(61*time.Second, clientA, echo); result != EchoStale {
		t.Errorf("after its life: %v", result)
	}
	_, _, reply, _ := r.Echo(epoch.Add(62*time.Second), clientA, echo, Existing{}, Existing{}, nil)
	c, _ := chunkOf(reply, wire.ErrorChunk)
	if cause, info := wire.FirstCause(c.Value); cause != wire.CauseStaleCookie || !bytes.Equal(info, []byte{0, 0x1e, 0x84, 0x80}) {
		t.Errorf("2 s too old is told as cause %d, % x", cause, info)
	}
	if result, drop := at(time.Second, clientA, echo); result != EchoNew {
		t.Errorf("in time: %v, %v", result, drop)
	}
	if result, _ := at(2*time.Second, clientA, echo); result != EchoDrop {
		t.Errorf("a second time: %v", result)
	}
	other := NewResponder(epoch, plainOffer, serverPort, seed(9))
	if _, result, _, _ := other.Echo(epoch, clientA, echo, Existing{}, Existing{}, nil); result != EchoDrop {
		t.Errorf("at another host: %v", result)
	}
}

// RFC 9260, Section 5.2.4, Table 12.
func TestResponder_CookieWithExistingAssociation(t *testing.T) {
	old := Existing{LocalTag: 0xAAAA, PeerTag: 0xBBBB}
	for _, row := range []struct {
		name             string
		tied             Existing // when the INIT came
		byTag, byAddress Existing // when the COOKIE ECHO comes
		ofSame           bool     // byTag is the association of this very cookie
		want             EchoResult
	}{
		{name: "none", want: EchoNew},
		{name: "A: the peer began anew", tied: old, byAddress: old, want: EchoRestart},
		{name: "the same peer's tag with tie tags", tied: Existing{LocalTag: 0xAAAA, PeerTag: 7}, byAddress: Existing{LocalTag: 0xAAAA, PeerTag: 7}, want: EchoDrop},
		{name: "C: a late cookie", byAddress: Existing{LocalTag: 0xCCCC, PeerTag: 7}, want: EchoDrop},
		{name: "tie tags of another association", tied: old, byAddress: Existing{LocalTag: 0xCCCC, PeerTag: 0xDDDD}, want: EchoDrop},
		{name: "D: the COOKIE ACK was lost", ofSame: true, want: EchoDuplicate},
		{name: "the old one ended meanwhile", tied: old, want: EchoNew},
	} {
		r := NewResponder(epoch, plainOffer, serverPort, seed(2))
		echo := echoOf(t, r, epoch, 7, row.tied)
		if row.ofSame {
			terms, _, _, _ := r.Echo(epoch, clientA, echo, Existing{}, Existing{}, nil)
			row.byTag = Existing{terms.LocalTag, terms.PeerTag}
			row.byAddress = row.byTag
		}
		// Case D holds however old the cookie is.
		now := epoch
		if row.ofSame {
			now = now.Add(100 * time.Second)
		}
		if _, got, _, _ := r.Echo(now, clientA, echo, row.byTag, row.byAddress, nil); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

// RFC 9260, Section 5.2.6: a stale cookie makes the client begin anew.
func TestInitiator_StaleCookie(t *testing.T) {
	r := NewResponder(epoch, plainOffer, serverPort, seed(2))
	i := NewInitiator(epoch, plainOffer, quick, clientPort, serverPort, 7, seed(1))
	init, _ := i.Packet(nil)
	ack, _, _ := r.Init(epoch, clientA, init, Existing{}, nil)
	i.Receive(epoch, ack)
	echo, _ := i.Packet(nil)
	late := epoch.Add(2 * time.Minute)
	_, _, reply, _ := r.Echo(late, clientA, echo, Existing{}, Existing{}, nil)
	i.Receive(late, reply)
	if again, ok := i.Packet(nil); !ok || !bytes.Equal(again, init) {
		t.Errorf("sent %v", types(again))
	}
}

// RFC 9260, Section 8.4: what packets of no association get.
func TestOutOfTheBlue(t *testing.T) {
	for _, row := range []struct {
		name, chunks string
		want         wire.ChunkType // 0: no answer
	}{
		{"DATA", "00030014 00000001 00000000 00000000 61626364", wire.Abort},
		{"INIT ACK", "02000004", wire.Abort},
		{"HEARTBEAT", "04000004", wire.Abort},
		{"SHUTDOWN ACK", "08000004", wire.ShutdownComplete},
		{"SHUTDOWN COMPLETE", "0e000004", 0},
		{"ABORT", "06000004", 0},
		{"ABORT behind DATA", "00030014 00000001 00000000 00000000 61626364 06000004", 0},
		{"COOKIE ACK", "0b000004", 0},
		{"stale cookie", "0900000c 00030008 00000001", 0},
		{"another error", "09000008 00060004", wire.Abort},
	} {
		p := append(wire.Header{Src: 1, Dst: 2, Tag: 99}.Append(nil), unhex(t, row.chunks)...)
		got, ok := OutOfTheBlue(p, nil)
		if ok != (row.want != 0) || ok && types(got)[0] != row.want {
			t.Errorf("%s: %v", row.name, types(got))
		}
		if h, _ := wire.ParseHeader(got); ok && (h != wire.Header{Src: 2, Dst: 1, Tag: 99} || got[wire.HeaderLen+1] != wire.FlagT || !wire.ChecksumOK(got)) {
			t.Errorf("%s: %x", row.name, got)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter(10, 4)
	now := epoch
	count := func(a string, n int) (allowed int) {
		for range n {
			if l.Allow(now, netip.MustParseAddr(a)) {
				allowed++
			}
		}
		return allowed
	}
	if n := count("192.0.2.1", 9) + count("192.0.2.200", 9); n != 4 {
		t.Errorf("%d of one /24", n)
	}
	if n := count("2001:db8:0:100::1", 9); n != 4 {
		t.Errorf("%d of one /56", n)
	}
	if n := count("198.51.100.1", 9); n != 2 {
		t.Errorf("%d more, of 10 in all", n)
	}
	now = now.Add(time.Second / 2)
	if n := count("192.0.2.7", 9); n != 2 {
		t.Errorf("%d after half a second", n)
	}
	if l.Allow(now.Add(-time.Hour), netip.MustParseAddr("192.0.2.7")) {
		t.Error("a clock that went back gives more")
	}
}
