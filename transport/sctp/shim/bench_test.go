package shim

import (
	"fmt"
	"testing"

	"ipfixsuite/transport/sctp/wire"
)

// load is both ends of an association under traffic: the sending engine's
// packets of one DATA chunk each, and the receiving engine's SACKs.
type load struct {
	c, s        *Association
	tsn         uint32
	data        wire.Data
	engine      []byte
	wire, taken []byte
}

func newLoad(tb testing.TB, auth bool, size int) *load {
	o := plainOffer
	o.Auth = auth
	c, s := couple(tb, o)
	return &load{
		c: c, s: s, tsn: c.terms.LocalTSN, data: wire.Data{Flags: whole, User: make([]byte, size)},
		engine: make([]byte, 0, 2048), wire: make([]byte, 0, 2048), taken: make([]byte, 0, EngineMaxPacket),
	}
}

// send takes one message from its sender's engine to the receiver's.
func (l *load) send() bool {
	l.c.Enter(&Message{Size: len(l.data.User)})
	l.data.TSN = l.tsn
	l.tsn++
	l.engine = wire.Header{Src: EnginePort, Dst: EnginePort}.Append(l.engine[:0])
	l.engine = l.data.Append(l.engine)
	l.wire = l.c.Outbound(epoch, l.engine, l.wire)
	l.taken = l.s.Inbound(epoch, l.wire, l.taken)
	l.s.touched = l.s.touched[:0]
	return len(l.taken) > 0
}

// acknowledge takes a SACK for all of them back.
func (l *load) acknowledge() bool {
	l.engine = wire.Header{Src: EnginePort, Dst: EnginePort}.Append(l.engine[:0])
	l.engine = append(l.engine, byte(wire.SACKChunk), 0, 0, 16)
	cum := l.tsn - 1
	l.engine = append(l.engine, byte(cum>>24), byte(cum>>16), byte(cum>>8), byte(cum), 0, 1, 0, 0, 0, 0, 0, 0)
	l.wire = l.s.Outbound(epoch, l.engine, l.wire)
	l.taken = l.c.Inbound(epoch, l.wire, l.taken)
	return len(l.taken) > 0
}

func TestTraffic_NoAllocation(t *testing.T) {
	for _, auth := range []bool{false, true} {
		l := newLoad(t, auth, 1000)
		round := func() {
			for range 2 {
				if !l.send() {
					t.Fatal("DATA lost")
				}
			}
			if !l.acknowledge() {
				t.Fatal("SACK lost")
			}
		}
		round()
		if n := testing.AllocsPerRun(200, round); n != 0 {
			t.Errorf("auth %v: %v allocations", auth, n)
		}
		if l.c.sent.fragments.len() != 0 || l.c.Settled() != l.c.Entered() {
			t.Errorf("auth %v: %d in flight", auth, l.c.sent.fragments.len())
		}
	}
}

// BenchmarkPacket is the shim's own cost of a DATA packet, from engine to
// engine, with half a SACK: both sides' work.
func BenchmarkPacket(b *testing.B) {
	for _, auth := range []bool{false, true} {
		for _, size := range []int{512, 1400} {
			b.Run(fmt.Sprintf("auth=%v/%d", auth, size), func(b *testing.B) {
				l := newLoad(b, auth, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					l.send()
					if i%2 == 1 {
						l.acknowledge()
					}
				}
			})
		}
	}
}
