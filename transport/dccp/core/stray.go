package core

import "ipfixsuite/transport/dccp/wire"

// StrayReset makes the Reset that answers a packet without a connection: its
// numbers come from the packet (RFC 4340, Section 8.3.1). A Reset is never
// answered.
func StrayReset(p *wire.Packet, code wire.ResetCode) (wire.Packet, bool) {
	if p.Type == wire.Reset || p.Type == wire.Listen {
		return wire.Packet{}, false
	}
	r := wire.Packet{SrcPort: p.DstPort, DstPort: p.SrcPort, Type: wire.Reset, Ack: p.Seq, Code: code}
	if p.Type.HasAck() {
		r.Seq = p.Ack.Add(1)
		if p.Short {
			r.Seq &= 1<<wire.ShortBits - 1
		}
	}
	return r, true
}
