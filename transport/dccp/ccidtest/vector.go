package ccidtest

import "ipfixsuite/transport/dccp/wire"

// vector is what an end knows of the packets that came: from low, below which
// the other end knows that we know, to high.
type vector struct {
	low, high wire.Seq
	state     [1 << 15]wire.AckState // of packet s at s modulo its length; stored +1, 0: not yet received
	records   []record
	buf       []byte
}

// record remembers what an acknowledgement of ours covered.
type record struct{ seq, ack wire.Seq }

func (v *vector) at(s wire.Seq) *wire.AckState { return &v.state[int(s)%len(v.state)] }

// add notes a packet; false for one that came before, or too late to matter.
func (v *vector) add(s wire.Seq, ce bool) bool {
	if s.Less(v.low) {
		return false
	}
	for v.high.Less(s) {
		v.high = v.high.Add(1)
		*v.at(v.high) = 0
		if v.high.Sub(v.low) >= int64(len(v.state)) {
			v.low = v.low.Add(1)
		}
	}
	if *v.at(s) != 0 {
		return false
	}
	*v.at(s) = wire.AckReceived + 1
	if ce {
		*v.at(s) = wire.AckECNMark + 1
	}
	return true
}

func (v *vector) appendOptions(b []byte) []byte {
	v.buf = v.buf[:0]
	for s := v.high; !s.Less(v.low) && len(v.buf) < 700; s = s.Add(-1) {
		state := wire.AckMissing
		if c := *v.at(s); c != 0 {
			state = c - 1
		}
		v.buf = wire.AppendAckRun(v.buf, 0, state, 1)
	}
	return wire.AppendAckVector(b, v.buf)
}

func (v *vector) sent(seq wire.Seq) {
	if len(v.records) < 4096 {
		v.records = append(v.records, record{seq, v.high})
	}
}

// acked takes that the other end has seen our packet with this number, and
// with it what the vector on it said.
func (v *vector) acked(seq wire.Seq) {
	for i := len(v.records) - 1; i >= 0; i-- {
		if r := v.records[i]; r.seq == seq {
			if v.low.Less(r.ack.Add(1)) {
				v.low = r.ack.Add(1)
			}
			v.records = append(v.records[:0], v.records[i+1:]...)
			return
		}
	}
}
