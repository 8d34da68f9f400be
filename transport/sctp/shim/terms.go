package shim

import (
	"encoding/binary"

	"ipfixsuite/transport/sctp/wire"
)

// Offer is what one side proposes in its INIT or INIT ACK.
type Offer struct {
	Out, In uint16 // streams to use, and to allow the peer
	Window  uint32 // receive buffer, octets
	// Auth demands DATA and FORWARD TSN authenticated.
	Auth bool
}

// demanded are the chunk types taken only authenticated, algorithms those
// understood, in the order of preference (RFC 6083, Section 4.6; RFC 4895,
// Section 6.1: SHA-1 has to be among them).
var (
	demanded   = []byte{byte(wire.DATA), byte(wire.ForwardTSN)}
	algorithms = []byte{0, byte(wire.HMACSHA256), 0, byte(wire.HMACSHA1)}
)

// Terms are what a handshake settled.
type Terms struct {
	LocalPort, PeerPort     uint16
	LocalTag, PeerTag       uint32
	LocalTSN, PeerTSN       uint32 // the first of each side
	LocalWindow, PeerWindow uint32
	Out, In                 uint16 // streams
	ForwardTSN              bool   // the peer understands FORWARD TSN
	// Auth is the ground of SCTP-AUTH; nil: one side has none.
	Auth *AuthTerms
}

// AuthTerms are the two key vectors and what follows from them.
type AuthTerms struct {
	Own, Peer []byte        // key vectors
	Mine      wire.ChunkSet // taken only authenticated
	Theirs    wire.ChunkSet // demanded authenticated by the peer
	HMAC      uint16        // the peer's choice for what we send
}

// settle joins what both sides said in their INIT and INIT ACK.
func settle(t Terms, offer Offer, own []byte, peer *wire.Init, o *wire.Options) Terms {
	t.PeerTag, t.PeerTSN, t.PeerWindow = peer.Tag, peer.TSN, peer.Window
	t.Out, t.In = min(offer.Out, peer.In), min(offer.In, peer.Out)
	t.LocalWindow = offer.Window
	t.ForwardTSN = o.ForwardTSN
	if hmac := chooseHMAC(o.HMACs); own != nil && o.Random != nil && hmac != 0 {
		a := &AuthTerms{
			Own:  own,
			Peer: wire.AppendKeyVector(nil, o.Random, o.ChunkList, o.HMACs),
			HMAC: hmac,
		}
		a.Mine.Add(demanded)
		a.Theirs.Add(o.ChunkList)
		t.Auth = a
	}
	return t
}

// chooseHMAC takes the first algorithm of the peer's list that we have (RFC
// 4895, Section 6.1).
func chooseHMAC(list []byte) uint16 {
	for ; len(list) >= 2; list = list[2:] {
		switch id := binary.BigEndian.Uint16(list); id {
		case wire.HMACSHA1, wire.HMACSHA256:
			return id
		}
	}
	return 0
}

// appendOffer writes the parameters of an INIT or INIT ACK that stand for the
// offer; random is this side's random number.
func appendOffer(b []byte, offer Offer, random []byte) []byte {
	b = wire.AppendParam(b, wire.ParamForwardTSN, nil)
	if !offer.Auth {
		return wire.AppendParam(b, wire.ParamExtensions, []byte{byte(wire.ForwardTSN)})
	}
	b = wire.AppendParam(b, wire.ParamExtensions, []byte{byte(wire.ForwardTSN), byte(wire.Auth)})
	b = wire.AppendParam(b, wire.ParamRandom, random)
	b = wire.AppendParam(b, wire.ParamChunkList, demanded)
	return wire.AppendParam(b, wire.ParamHMACs, algorithms)
}

// ownVector is this side's key vector; nil without SCTP-AUTH.
func ownVector(offer Offer, random []byte) []byte {
	if !offer.Auth {
		return nil
	}
	return wire.AppendKeyVector(nil, random, demanded, algorithms)
}

// EngineInits are the INIT chunk values that tell an engine how the handshake
// went: the local one and the peer's. Both sides agree to do without checksums,
// as no wire is between us.
func (t *Terms) EngineInits() (local, peer []byte) {
	l := wire.Init{Tag: t.LocalTag, Window: t.LocalWindow, Out: t.Out, In: t.In, TSN: t.LocalTSN}
	p := wire.Init{Tag: t.PeerTag, Window: t.PeerWindow, Out: t.In, In: t.Out, TSN: t.PeerTSN}
	local = engineInit(&l)
	peer = engineInit(&p)
	return local, peer
}

func engineInit(i *wire.Init) []byte {
	b := wire.BeginChunk(nil, wire.INIT, 0)
	b = i.AppendFixed(b)
	b = wire.AppendParam(b, wire.ParamExtensions, []byte{byte(wire.ForwardTSN)})
	b = wire.AppendZeroChecksum(b)
	return wire.EndChunk(b, 0)
}
