package shim

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// FuzzAssociation: whatever packets come, and in whatever order, the shim
// neither panics nor grows, the engine gets well-formed packets that it can
// read, and the wire nothing that is not fit for it.
func FuzzAssociation(f *testing.F) {
	f.Add(false, unhex(f, "00030014 000001f4 00000000 00000000 61626364"), []byte{0, 1, 2})
	f.Add(false, sackChunk(0xFFFFFFF1, 0, 2, 2), []byte{1, 2, 3})
	f.Add(false, unhex(f, "c000000c 00000200 00000001 0700000408000004"), []byte{3})
	f.Add(false, unhex(f, "05000010 0001000c 0000000000000000 fe000004 c1000004"), []byte{3})
	f.Add(true, unhex(f, udpAuthKey0)[wire.HeaderLen:], []byte{0, 1})
	f.Add(true, unhex(f, udpAuthKey1)[wire.HeaderLen:], []byte{0})
	f.Add(true, sackChunk(0x6d6d1ef3, 0x100), []byte{0, 0x8a, 0, 1, 3, 0x82, 1, 0})
	f.Fuzz(func(t *testing.T, auth bool, chunks, steps []byte) {
		if len(chunks) > 1<<14 || len(steps) > 64 {
			return
		}
		s := newSender(t, 4, true)
		if auth {
			s.a = overUDP(t)
			s.tsn = 0x6d6d1ef2
		}
		buf := make([]byte, 0, EngineMaxPacket)
		for _, step := range steps {
			s.now = s.now.Add(time.Duration(step) * time.Millisecond)
			switch step % 4 {
			case 0:
				if s.a.End().Reason == EndNone {
					s.a.Enter(&Message{Size: 4, Stream: uint16(step) % 4, Deadline: s.now.Add(time.Duration(step) * time.Millisecond)})
				}
				out := s.a.Outbound(s.now, engineData(0, wire.Data{Flags: whole, TSN: s.tsn, Stream: uint16(step) % 4, User: []byte("abcd")}), nil)
				s.tsn++
				if len(out) > 0 && (!wire.WellFormed(out) || !wire.ChecksumOK(out)) {
					t.Fatalf("sent %x", out)
				}
			case 1:
				s.a.Outbound(s.now, engineData(0, wire.Data{Flags: whole, TSN: s.tsn - 1, Stream: 0, User: []byte("abcd")}), nil)
			case 2:
				s.a.Advance(s.now)
				if auth && step&0x80 != 0 { // the keys change
					_ = s.a.SetKey(1, key1)
					_ = s.a.ActivateKey(uint16(step>>3) % 2)
					_ = s.a.DeleteKey(uint16(step>>4) % 2)
				}
			case 3:
				p := rawPacket(s.a, chunks)
				if step&0x40 != 0 {
					binary.BigEndian.PutUint32(p[4:], s.a.terms.PeerTag)
				}
				for got := s.a.Inbound(s.now, p, buf); len(got) > 0; got = s.a.Resume(s.now, buf) {
					if len(got) > EngineMaxPacket || !wire.WellFormed(got) || cap(got) != cap(buf) {
						t.Fatalf("the engine gets %x", got)
					}
					for _, kind := range types(got) {
						switch kind {
						case wire.DATA, wire.SACKChunk, wire.ForwardTSN, wire.Shutdown, wire.ShutdownAck:
						default:
							t.Fatalf("the engine gets type %d", kind)
						}
					}
				}
			}
			packets(t, s.a)
			events(s.a)
			if len(s.a.held) > maxHeld || len(s.a.keys.turns) > maxKeys || len(s.a.touched) > 1<<12 || s.a.Settled() > s.a.Entered() || s.a.Buffered() < 0 {
				t.Fatalf("%d held, %d touched, settled %d of %d, %d buffered", len(s.a.held), len(s.a.touched), s.a.Settled(), s.a.Entered(), s.a.Buffered())
			}
			s.a.Touched(nil)
		}
	})
}

// FuzzHandshake: whatever comes to either side of a handshake, answers are
// well-formed and small, and nothing but what we signed is taken for a cookie.
func FuzzHandshake(f *testing.F) {
	i := NewInitiator(epoch, authOffer(), quick, clientPort, serverPort, 7, seed(1))
	init, _ := i.Packet(nil)
	r := NewResponder(epoch, authOffer(), serverPort, seed(2))
	ack, _, _ := r.Init(epoch, clientA, init, Existing{}, nil)
	i.Receive(epoch, ack)
	echo, _ := i.Packet(nil)
	secret := func(uint16) []byte { return []byte("secret") }
	k := cookie{created: epoch, generation: 1, peer: netip.MustParseAddr("2001:db8::1"), vector: make([]byte, 60)}
	for _, p := range [][]byte{init, ack, echo, unhex(f, linuxInitAck), k.append(nil, secret(1))} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var got cookie
		if got.parse(p, secret) && !bytes.Equal(got.append(nil, secret(1)), p) {
			t.Fatalf("%x is taken for a cookie", p)
		}
		if !wire.WellFormed(p) {
			return
		}
		i := NewInitiator(epoch, authOffer(), quick, clientPort, serverPort, 7, seed(1))
		i.Packet(nil)
		i.Receive(epoch, p)
		if out, ok := i.Packet(nil); ok && !wire.WellFormed(out) {
			t.Fatalf("sent %x", out)
		}
		r := NewResponder(epoch, authOffer(), serverPort, seed(2))
		for _, answer := range [][]byte{
			first(r.Init(epoch, clientA, p, Existing{}, nil)),
			reply(r.Echo(epoch, clientA, p, Existing{}, Existing{}, nil)),
		} {
			if len(answer) > 0 && (!wire.WellFormed(answer) || len(answer) > 1024) {
				t.Fatalf("answered %x", answer)
			}
		}
		if out, ok := OutOfTheBlue(p, nil); ok && len(out) > len(p) {
			t.Fatalf("%d octets for %d", len(out), len(p))
		}
		if out, ok := RefuseInit(p, nil); ok && len(out) > len(p) {
			t.Fatalf("%d octets for %d", len(out), len(p))
		}
	})
}

func first(b []byte, _ Drop, ok bool) []byte {
	if !ok {
		return nil
	}
	return b
}

func reply(_ Terms, _ EchoResult, b []byte, _ Drop) []byte { return b }
