package shim

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	epoch   = time.Unix(1_800_000_000, 0)
	clientA = netip.MustParseAddr("192.0.2.1")
	quick   = Timers{
		RTOInitial: time.Second, RTOMin: 200 * time.Millisecond, RTOMax: 4 * time.Second,
		Heartbeat: 30 * time.Second, MaxRetransmits: 10, PathRetransmits: 5,
	}
)

const (
	clientPort = 40001
	serverPort = 4739
)

func seed(n byte) (s [32]byte) {
	s[0] = n
	return s
}

// shake makes a handshake between an Initiator and a Responder and returns
// both sides' terms.
func shake(t testing.TB, client, server Offer) (c, s Terms) {
	t.Helper()
	i := NewInitiator(epoch, client, quick, clientPort, serverPort, 0x11223344, seed(1))
	r := NewResponder(epoch, server, serverPort, seed(2))
	init, _ := i.Packet(nil)
	ack, drop, ok := r.Init(epoch, clientA, init, Existing{}, nil)
	if !ok || drop != 0 {
		t.Fatalf("INIT not answered: %v", drop)
	}
	i.Receive(epoch, ack)
	echo, ok := i.Packet(nil)
	if !ok {
		_, _, _, err := i.Result()
		t.Fatalf("no COOKIE ECHO: %v", err)
	}
	st, result, _, drop := r.Echo(epoch, clientA, echo, Existing{}, Existing{}, nil)
	if result != EchoNew {
		t.Fatalf("COOKIE ECHO: %v, %v", result, drop)
	}
	sa := NewAssociation(epoch, st, config(t))
	sa.AnswerEcho()
	cookieAck, _ := sa.Packet(nil)
	i.Receive(epoch, cookieAck)
	ct, last, done, err := i.Result()
	if !done || err != nil || last == nil {
		t.Fatalf("handshake: done %v, %v", done, err)
	}
	return *ct, st
}

func config(testing.TB) Config { return Config{Timers: quick, MaxPacket: 1452, Seed: seed(3)} }

var plainOffer = Offer{Out: 10, In: 10, Window: 1 << 20}

func authOffer() Offer {
	o := plainOffer
	o.Auth = true
	return o
}

// couple is both sides of an association.
func couple(t testing.TB, o Offer) (c, s *Association) {
	t.Helper()
	ct, st := shake(t, o, o)
	return NewAssociation(epoch, ct, config(t)), NewAssociation(epoch, st, config(t))
}

// engineData is a packet as an engine makes it.
func engineData(tag uint32, chunks ...wire.Data) []byte {
	b := wire.Header{Src: EnginePort, Dst: EnginePort, Tag: tag}.Append(nil)
	for i := range chunks {
		b = chunks[i].Append(b)
	}
	return b
}

const whole = wire.FlagBegin | wire.FlagEnd

// rawPacket is a packet to a with a right checksum.
func rawPacket(a *Association, chunks []byte) []byte {
	b := wire.Header{Src: a.terms.PeerPort, Dst: a.terms.LocalPort, Tag: a.terms.LocalTag}.Append(nil)
	b = append(b, chunks...)
	wire.SetChecksum(b)
	return b
}

func sackChunk(cumulative, window uint32, gaps ...uint16) []byte {
	v := []byte{
		byte(cumulative >> 24), byte(cumulative >> 16), byte(cumulative >> 8), byte(cumulative),
		byte(window >> 24), byte(window >> 16), byte(window >> 8), byte(window),
		0, byte(len(gaps) / 2), 0, 0,
	}
	for _, g := range gaps {
		v = append(v, byte(g>>8), byte(g))
	}
	return wire.AppendChunk(nil, wire.SACKChunk, 0, v)
}

// types lists a packet's chunk types.
func types(packet []byte) (list []wire.ChunkType) {
	if len(packet) == 0 {
		return nil
	}
	w := wire.WalkChunks(packet)
	for c := (wire.Chunk{}); w.Next(&c); {
		list = append(list, c.Type)
	}
	return list
}

// packets takes what the shim itself has to send.
func packets(t testing.TB, a *Association) (list [][]byte) {
	t.Helper()
	for {
		p, ok := a.Packet(nil)
		if !ok {
			return list
		}
		if !wire.ChecksumOK(p) || !wire.WellFormed(p) {
			t.Fatalf("%x: not fit for the wire", p)
		}
		list = append(list, p)
	}
}

// chunkOf finds the first chunk of a type.
func chunkOf(packet []byte, t wire.ChunkType) (c wire.Chunk, ok bool) {
	w := wire.WalkChunks(packet)
	for w.Next(&c) {
		if c.Type == t {
			return c, true
		}
	}
	return c, false
}

func events(a *Association) (kinds []EventKind, given []GivenUp) {
	for {
		ev, ok := a.Event()
		if !ok {
			return kinds, given
		}
		if ev.Kind == EventGivenUp {
			given = append(given, ev.GivenUp)
		} else {
			kinds = append(kinds, ev.Kind)
		}
	}
}

func wantDrops(t testing.TB, got Drops, want Drops) {
	t.Helper()
	if !slices.Equal(got[:], want[:]) {
		t.Errorf("drops %v, want %v", got.Map(), want.Map())
	}
}
