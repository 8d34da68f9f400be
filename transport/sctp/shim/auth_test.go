package shim

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"ipfixsuite/transport/sctp/wire"
)

// Vectors of Linux 6.1, as in package wire: a packet of the kernel between its
// own two ends (SHA-256), and two of an association over UDP (SHA-1) under the
// empty key 0 and under key 1, 64 octets 0x5a. Python's hmac module gives the
// same MACs.
const (
	kernelRandomA  = "1247f0d0dfa3c1fcc7f5217fb61f4d558a991fe89b7e6d143e2254dcbdccd694"
	kernelRandomB  = "599fc76fc26ab50d3a7fcccf573e53f5b7e6f62879bebc1b438fe98613729454"
	kernelAuthData = `a404 1284 bc4feea1 00000000
		0f 00 0028 0000 0003 d049c4d1c115d47b6ef789169919630fb1e56a72d53228f68ddfe74d09ec7906
		00 0b 009e a3ef861b 0000 0000 00000000
		16fefd00000000000000000081010000750000000000000075fefd6b0081ec6ed7d9b35a05be66f9226921b7bc3b5fb81765
		e66470e8c6bdcb30c600000002c02b01000049000d001600140403050306030807080408050806040105010601ff01000100
		000a00080006001d00170018000b000201000017000000000010000e00000b7365727665722e746573740000`

	udpRandomA  = "4b0163361ffebdb6cbe85153c0f874bbff31ba906290621a5b1dc9089fc56f0e"
	udpRandomB  = "fef57a4378aade20ebbde670ee7129a7f1900b1941d8f653c82d52f4728d181c"
	udpAuthKey0 = `1284 9c41 fe4c6610 4e416be1
		0f 00 001c 0000 0001 a0e65bc99d739ff3e25e224b91383ed779198db6
		00 03 0020 da8eeb03 0000 0000 00000000 7265706c7920756e646572206b657930`
	udpAuthKey1 = `1284 9c41 fe4c6610 ce268865
		0f 00 001c 0001 0001 f01e02b5991a6e3694901a137e37502a00b3167c
		00 03 0020 da8eeb04 0000 0001 00000000 7265706c7920756e646572206b657931`
)

var key1 = bytes.Repeat([]byte{0x5a}, 64)

// vectors is the key material of a capture: own and peer's random number, and
// the algorithms both listed.
func vectors(t testing.TB, own, peer string, algorithms []byte, hmac uint16) *AuthTerms {
	a := &AuthTerms{
		Own:  wire.AppendKeyVector(nil, unhex(t, own), demanded, algorithms),
		Peer: wire.AppendKeyVector(nil, unhex(t, peer), demanded, algorithms),
		HMAC: hmac,
	}
	a.Mine.Add(demanded)
	a.Theirs.Add(demanded)
	return a
}

// overUDP is the user-space end of the captured association over UDP.
func overUDP(t testing.TB) *Association {
	return NewAssociation(epoch, Terms{
		LocalPort: 0x9c41, PeerPort: 0x1284, LocalTag: 0xfe4c6610, PeerTag: 0x47e3a6aa,
		LocalTSN: 0x6d6d1ef2, PeerTSN: 0xda8eeb03, Out: 10, In: 10, ForwardTSN: true,
		Auth: vectors(t, udpRandomA, udpRandomB, []byte{0, 1}, wire.HMACSHA1),
	}, config(t))
}

// RFC 4895, Section 6.3: what a kernel authenticated is taken.
func TestInbound_KernelAuth(t *testing.T) {
	udp := overUDP(t)
	if err := udp.SetKey(1, key1); err != nil {
		t.Fatal(err)
	}
	kernel := NewAssociation(epoch, Terms{
		LocalPort: 0x1284, PeerPort: 0xa404, LocalTag: 0xbc4feea1, PeerTag: 0x49a8f280, In: 10, Out: 10,
		Auth: vectors(t, kernelRandomB, kernelRandomA, []byte{0, 3, 0, 1}, wire.HMACSHA256),
	}, config(t))
	for _, row := range []struct {
		name, packet string
		a            *Association
		payload      string
	}{
		{"SHA-1, key 0", udpAuthKey0, udp, "reply under key0"},
		{"SHA-1, key 1", udpAuthKey1, udp, "reply under key1"},
		{"SHA-256, key 0", kernelAuthData, kernel, "server.test"},
	} {
		p := unhex(t, row.packet)
		got := row.a.Inbound(epoch, p, nil)
		c, ok := chunkOf(got, wire.DATA)
		if !ok || !bytes.Contains(c.Value, []byte(row.payload)) {
			t.Errorf("%s: the engine gets %x", row.name, got)
		}
		for k := wire.HeaderLen; k < len(p); k++ {
			forged := bytes.Clone(p)
			forged[k] ^= 1
			if c, ok := chunkOf(row.a.Inbound(epoch, forged, nil), wire.DATA); ok {
				t.Fatalf("%s: passes with octet %d changed: %x", row.name, k, c.Raw)
			}
		}
	}
}

// RFC 4895, Section 6.2: what we authenticate is what a kernel would have sent.
func TestOutbound_SealsAsTheKernelDoes(t *testing.T) {
	// The kernel's end of the association.
	a := NewAssociation(epoch, Terms{
		LocalPort: 0x1284, PeerPort: 0x9c41, LocalTag: 0x47e3a6aa, PeerTag: 0xfe4c6610,
		LocalTSN: 0xda8eeb03, PeerTSN: 0x6d6d1ef2, Out: 10, In: 10,
		Auth: vectors(t, udpRandomB, udpRandomA, []byte{0, 1}, wire.HMACSHA1),
	}, config(t))
	for i, text := range []string{"reply under key0", "reply under key1"} {
		if i == 1 {
			if err := errors.Join(a.SetKey(1, key1), a.ActivateKey(1)); err != nil {
				t.Fatal(err)
			}
		}
		a.Enter(&Message{Size: len(text)})
		out := a.Outbound(epoch, engineData(0, wire.Data{Flags: whole, TSN: 0xda8eeb03 + uint32(i), SSN: uint16(i), User: []byte(text)}), nil)
		if want := unhex(t, []string{udpAuthKey0, udpAuthKey1}[i]); !bytes.Equal(out, want) {
			t.Errorf("%q:\n got %x\nwant %x", text, out, want)
		}
	}
}

// RFC 4895, Section 6.3: a demanded chunk without AUTH, under an unknown key,
// by an unknown algorithm, behind a second AUTH: silently discarded, counted.
func TestInbound_Unauthenticated(t *testing.T) {
	a := overUDP(t)
	data := unhex(t, "00030014 da8eeb03 00000000 00000000 61626364")
	sack := sackChunk(0x6d6d1ef1, 1000)
	key0 := unhex(t, udpAuthKey0)[wire.HeaderLen:]
	auth := key0[:28]

	for _, row := range []struct {
		name   string
		chunks []byte
		engine []wire.ChunkType // what the engine gets
		drop   Drop
		answer bool
	}{
		{"DATA without AUTH", data, nil, DropUnauthenticated, false},
		{"SACK and DATA without AUTH", append(bytes.Clone(sack), data...), []wire.ChunkType{wire.SACKChunk}, DropUnauthenticated, false},
		{"DATA before AUTH", append(bytes.Clone(data), key0...), []wire.ChunkType{wire.DATA}, DropUnauthenticated, false},
		{"wrong MAC", append(append(bytes.Clone(auth[:27]), 0), key0[28:]...), nil, DropMAC, false},
		{"unknown key", append([]byte{15, 0, 0, 28, 0, 9}, key0[6:]...), nil, DropKey, false},
		{"unknown algorithm", append([]byte{15, 0, 0, 28, 0, 0, 0, 2}, key0[8:]...), nil, DropHMAC, true},
		{"short MAC", append([]byte{15, 0, 0, 24, 0, 0, 0, 1}, key0[12:]...), nil, DropMAC, false},
	} {
		before := a.Counts().Drops
		got := a.Inbound(epoch, rawPacket(a, row.chunks), nil)
		if g := types(got); !bytes.Equal(chunkBytes(g), chunkBytes(row.engine)) {
			t.Errorf("%s: the engine gets %v", row.name, g)
		}
		before[row.drop]++
		wantDrops(t, a.Counts().Drops, before)
		answers := packets(t, a)
		if (len(answers) == 1) != row.answer {
			t.Errorf("%s: %d answers", row.name, len(answers))
		}
		if row.answer {
			// RFC 4895, Section 4.1.
			c, _ := chunkOf(answers[0], wire.ErrorChunk)
			if cause, info := wire.FirstCause(c.Value); cause != wire.CauseUnsupportedHMAC || !bytes.Equal(info, []byte{0, 2}) {
				t.Errorf("%s: cause %d, % x", row.name, cause, info)
			}
		}
	}
}

func chunkBytes(list []wire.ChunkType) []byte {
	b := []byte{}
	for _, t := range list {
		b = append(b, byte(t))
	}
	return b
}

// RFC 4895, Section 5.1: one AUTH a packet; the rest behind a second one goes.
func TestInbound_SecondAuth(t *testing.T) {
	c, s := couple(t, authOffer())
	inner := s.keys.seal(s.header(nil), s.keys.active) // nothing to authenticate
	inner = append(inner, unhex(t, "00030014 00000000 00000000 00000000 61626364")...)
	once := s.keys.seal(bytes.Clone(inner), s.keys.active)
	twice := s.keys.insert(bytes.Clone(once), wire.HeaderLen, s.keys.active) // an AUTH before AUTH and DATA, both authentic
	if got := types(c.Inbound(epoch, once, nil)); len(got) != 1 {
		t.Fatalf("with one AUTH: %v", got)
	}
	if got := c.Inbound(epoch, twice, nil); len(got) != 0 {
		t.Errorf("with two: %v", types(got))
	}
}

// RFC 4895, Section 6.2: AUTH stands before the first chunk that the peer
// demands authenticated, and nowhere else.
func TestOutbound_AuthStandsBeforeWhatNeedsIt(t *testing.T) {
	c, _ := couple(t, authOffer())
	c.Enter(&Message{Size: 4})
	b := wire.Header{Src: EnginePort, Dst: EnginePort}.Append(nil)
	b = append(b, sackChunk(5, 1000)...)
	if got := types(c.Outbound(epoch, b, nil)); len(got) != 1 {
		t.Errorf("SACK alone goes out as %v", got)
	}
	d := wire.Data{Flags: whole, TSN: c.terms.LocalTSN, User: []byte("abcd")}
	got := types(c.Outbound(epoch, d.Append(b), nil))
	if want := []wire.ChunkType{wire.SACKChunk, wire.Auth, wire.DATA}; !bytes.Equal(chunkBytes(got), chunkBytes(want)) {
		t.Errorf("SACK and DATA go out as %v", got)
	}
}

// RFC 6083, Section 4.8: keys follow each other; a packet under the next key
// waits for it, a few of them, and is taken when it is there.
func TestKeys_NextKeyIsWaitedFor(t *testing.T) {
	c, s := couple(t, authOffer())
	secret := []byte("a secret of the handshake")
	if err := errors.Join(s.SetKey(1, secret), s.ActivateKey(1), s.DeleteKey(0)); err != nil {
		t.Fatal(err)
	}
	packet := func(i int) []byte {
		s.Enter(&Message{Size: 4})
		return bytes.Clone(s.Outbound(epoch, engineData(0, wire.Data{Flags: whole, TSN: s.terms.LocalTSN + uint32(i), User: []byte("abcd")}), nil))
	}
	for i := range maxHeld + 2 {
		if got := c.Inbound(epoch, packet(i), nil); len(got) > 0 {
			t.Fatalf("taken without the key: %x", got)
		}
	}
	if n := c.Counts().Drops[DropKey]; n != 2 {
		t.Errorf("%d dropped, want 2 beyond the %d that wait", n, maxHeld)
	}
	if _, ok := c.Held(); ok {
		t.Fatal("released without the key")
	}
	if err := c.SetKey(1, secret); err != nil {
		t.Fatal(err)
	}
	for i := range maxHeld {
		p, ok := c.Held()
		if !ok || len(c.Inbound(epoch, p, nil)) == 0 {
			t.Fatalf("packet %d: held %v", i, ok)
		}
	}
	// What we send is still under the key that is active here.
	c.Enter(&Message{Size: 4})
	out := c.Outbound(epoch, engineData(0, wire.Data{Flags: whole, TSN: c.terms.LocalTSN, User: []byte("abcd")}), nil)
	if id, _ := authKey(out); id != 0 {
		t.Errorf("sent under key %d", id)
	}
	if got := s.Inbound(epoch, out, nil); len(got) > 0 {
		t.Error("taken under a key that was deleted")
	}
}

// RFC 6083, Section 4.8: a message that was handed over before the keys
// changed goes under the old one, and so does its retransmission, also when
// the old key lets nothing in any more; a packet has one key.
func TestKeys_MessageKeepsItsKey_RFC6083_4_8(t *testing.T) {
	c, s := couple(t, authOffer())
	secret := []byte("a secret of the handshake")
	if err := errors.Join(c.SetKey(1, secret), s.SetKey(1, secret)); err != nil {
		t.Fatal(err)
	}
	tsn := c.terms.LocalTSN
	chunk := func(i uint32, user string) wire.Data {
		return wire.Data{Flags: whole, TSN: tsn + i, User: []byte(user)}
	}
	sent := func(chunks ...wire.Data) (list [][]byte) {
		t.Helper()
		if b := c.Outbound(epoch, engineData(0, chunks...), nil); len(b) > 0 {
			list = append(list, b)
		}
		return append(list, packets(t, c)...)
	}
	keys := func(list [][]byte) (ids []uint16) {
		for _, p := range list {
			id, _ := authKey(p)
			ids = append(ids, id)
		}
		return ids
	}
	c.Enter(&Message{Size: 4})
	c.Enter(&Message{Size: 4})
	if err := c.ActivateKey(1); err != nil {
		t.Fatal(err)
	}
	c.Enter(&Message{Size: 4})
	c.Enter(&Message{Size: 4})
	// The engine comes to send only now, all in one packet.
	first := sent(chunk(0, "old "), chunk(1, "old "), chunk(2, "new "), chunk(3, "new "))
	if got := keys(first); !slices.Equal(got, []uint16{0, 1}) {
		t.Fatalf("sent under keys %v", got)
	}
	for i, want := range []string{"old old ", "new new "} {
		var got []byte
		w := wire.WalkChunks(first[i])
		for ch := (wire.Chunk{}); w.Next(&ch); {
			if ch.Type == wire.DATA {
				got = append(got, wireData(ch).User...)
			}
		}
		if string(got) != want || len(s.Inbound(epoch, first[i], nil)) == 0 {
			t.Errorf("packet %d holds %q, want %q, or is not taken", i, got, want)
		}
	}
	if err := errors.Join(c.DeleteKey(0), s.ActivateKey(1)); err != nil {
		t.Fatal(err)
	}
	if got := keys(sent(chunk(3, "new "), chunk(0, "old "), chunk(2, "new "))); !slices.Equal(got, []uint16{1, 0, 1}) {
		t.Errorf("sent again under keys %v", got)
	}
	// What the old key would let in is dropped, on both ways of taking it.
	forged := newKeyring(s.terms.Auth)
	d := wire.Data{Flags: whole, TSN: s.terms.LocalTSN, User: []byte("mine")}
	p := forged.seal(d.Append(s.header(nil)), forged.active)
	if got := c.Inbound(epoch, p, nil); len(got) > 0 || c.Counts().Drops[DropKey] != 1 {
		t.Errorf("taken under the deleted key: %x", got)
	}
	// With the last of its messages the old key is gone.
	old := c.keys.turns[0].key
	if bytes.Equal(old.secret, make([]byte, len(old.secret))) {
		t.Error("the key is gone while messages need it")
	}
	c.Inbound(epoch, rawPacket(c, sackChunk(tsn+1, 1000)), nil)
	if len(c.keys.turns) != 1 || c.keys.turns[0].key.id != 1 || !bytes.Equal(old.secret, make([]byte, len(old.secret))) || old.sha256 != nil {
		t.Errorf("%d keys are kept for messages", len(c.keys.turns))
	}
	if got := keys(sent(chunk(3, "new "))); !slices.Equal(got, []uint16{1}) {
		t.Errorf("sent under keys %v", got)
	}
}

// Activations while nothing is acknowledged are bounded.
func TestKeys_ManyTurns(t *testing.T) {
	c, _ := couple(t, authOffer())
	if err := c.SetKey(1, key1); err != nil {
		t.Fatal(err)
	}
	for range 100 { // no message in between: one turn
		if err := errors.Join(c.ActivateKey(1), c.ActivateKey(0)); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for i := uint16(1); err == nil && i < 100; i++ {
		c.Enter(&Message{Size: 4})
		err = c.ActivateKey(i % 2)
	}
	if !errors.Is(err, ErrKeys) || len(c.keys.turns) != maxKeys {
		t.Errorf("%d turns, %v", len(c.keys.turns), err)
	}
}

func TestKeys_Errors(t *testing.T) {
	c, _ := couple(t, authOffer())
	for name, err := range map[string]error{
		"activate a missing key": c.ActivateKey(3),
		"delete a missing key":   c.DeleteKey(3),
		"delete the active key":  c.DeleteKey(0),
	} {
		if !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for id := range uint16(maxKeys - 1) {
		if err := c.SetKey(id+1, key1); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SetKey(99, key1); !errors.Is(err, ErrKeys) {
		t.Errorf("one key too many: %v", err)
	}
	if err := c.SetKey(1, make([]byte, maxKey+1)); !errors.Is(err, ErrKeys) {
		t.Errorf("a key too long: %v", err)
	}
	plain, _ := couple(t, plainOffer)
	if err := plain.SetKey(1, key1); !errors.Is(err, ErrNoAuth) {
		t.Errorf("without SCTP-AUTH: %v", err)
	}
	c.keys.active.id = 0xFFFF
	if !c.keys.next(1) || c.keys.next(0) {
		t.Error("65535 is not followed by 1")
	}
}

// RFC 4895, Sections 6.2 and 6.3: a peer may demand COOKIE ECHO authenticated,
// by what the cookie holds; one that is authenticated wrongly opens nothing.
func TestResponder_AuthenticatedEcho(t *testing.T) {
	r := NewResponder(epoch, authOffer(), serverPort, seed(2))
	i := NewInitiator(epoch, authOffer(), quick, clientPort, serverPort, 7, seed(1))
	init, _ := i.Packet(nil)
	ack, _, _ := r.Init(epoch, clientA, init, Existing{}, nil)
	i.Receive(epoch, ack)
	i.terms.Auth.Theirs.Add([]byte{byte(wire.CookieEcho)})
	keys := newKeyring(i.terms.Auth)
	plain, _ := i.Packet(nil)
	echo := keys.seal(plain, keys.active)
	if got := types(echo); got[0] != wire.Auth || got[1] != wire.CookieEcho {
		t.Fatalf("%v", got)
	}
	forged := bytes.Clone(echo)
	forged[wire.HeaderLen+10] ^= 1
	if _, result, _, drop := r.Echo(epoch, clientA, forged, Existing{}, Existing{}, nil); result != EchoDrop || drop != DropMAC {
		t.Errorf("forged: %v, %v", result, drop)
	}
	if _, result, _, drop := r.Echo(epoch, clientA, echo, Existing{}, Existing{}, nil); result != EchoNew {
		t.Errorf("authentic: %v, %v", result, drop)
	}
}
