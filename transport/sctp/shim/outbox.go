package shim

import (
	"encoding/binary"

	"ipfixsuite/transport/sctp/wire"
)

// outbox holds the shim's own packets until they are sent.
type outbox struct {
	packets [][]byte
	free    [][]byte
}

// maxOwn bounds the packets that wait: answers to heartbeats and errors.
const maxOwn = 64

// add makes a packet of what chunks appends to the common header.
func (o *outbox) add(a *Association, chunks func([]byte) []byte) {
	if len(o.packets) == maxOwn {
		a.drops[DropQueue]++
		return
	}
	o.push(a, a.dispatch(chunks(a.header(o.buffer())), a.keys.active))
}

// buffer is an empty one for push.
func (o *outbox) buffer() (b []byte) {
	if n := len(o.free); n > 0 {
		b, o.free = o.free[n-1][:0], o.free[:n-1]
	}
	return b
}

// push adds a packet that is ready, or takes its buffer back.
func (o *outbox) push(a *Association, b []byte) {
	if len(o.packets) == maxOwn {
		a.drops[DropQueue]++
		o.free = append(o.free, b)
		return
	}
	o.packets = append(o.packets, b)
}

// header writes the common header of a packet to the peer.
func (a *Association) header(b []byte) []byte {
	return wire.Header{Src: a.terms.LocalPort, Dst: a.terms.PeerPort, Tag: a.terms.PeerTag}.Append(b)
}

// dispatch makes a packet that fills b ready for the wire, authenticated under
// a key where that is asked for.
func (a *Association) dispatch(b []byte, key *sharedKey) []byte {
	b = a.keys.seal(b, key)
	wire.SetChecksum(b)
	return b
}

// Packet takes the next packet that the shim has to send, appended to b; false
// when there is none. It is to be called after every other method.
func (a *Association) Packet(b []byte) ([]byte, bool) {
	o := &a.out
	if len(o.packets) == 0 {
		return b, false
	}
	p := o.packets[0]
	b = append(b, p...)
	copy(o.packets, o.packets[1:])
	o.packets = o.packets[:len(o.packets)-1]
	o.free = append(o.free, p)
	return b, true
}

// appendBeat writes a HEARTBEAT whose information is a number that only its
// receiver can know (RFC 9260, Section 3.3.5).
func appendBeat(b []byte, nonce uint64) []byte {
	at := len(b)
	b = wire.BeginChunk(b, wire.Heartbeat, 0)
	b = append(b, 0, byte(wire.ParamHeartbeatInfo), 0, 12)
	return wire.EndChunk(binary.BigEndian.AppendUint64(b, nonce), at)
}

// beatNonce reads it back from a HEARTBEAT ACK.
func beatNonce(value []byte) (nonce uint64, ok bool) {
	w := wire.WalkParams(value)
	var p wire.Param
	if !w.Next(&p) || p.Type != wire.ParamHeartbeatInfo || len(p.Value) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(p.Value), true
}
