package core

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// abuse is a peer whose packets are all valid, and each of which makes c
// remember as much as it can: it jumps ahead in its window, which it declares to
// be as large as can be, acknowledges hardly anything, wants all messages
// confirmed and none of them finds room, and asks for features that do not exist.
func abuse(t *testing.T, c *Conn, now time.Time, r *rand.Rand) {
	t.Helper()
	buf := make([]byte, 0, 2000)
	for range 400 {
		now = now.Add(time.Millisecond)
		opts := wire.AppendFeature(nil, wire.OptChangeL, wire.FeatSequenceWindow, wire.AppendSequenceWindow(nil, wire.MaxSequenceWindow)...)
		for f := range wire.Feature(60) {
			opts = wire.AppendFeature(opts, wire.OptChangeR, 60+f, 1)
		}
		opts = wire.AppendTimestamp(opts, r.Uint32())
		_, high := c.seqWindow()
		ahead := min(1+r.Int64N(2000), high.Sub(c.gsr))
		q := wire.Packet{SrcPort: c.ports.Remote, DstPort: c.ports.Local, Type: wire.DataAck, CCVal: uint8(r.IntN(16)), Seq: c.gsr.Add(ahead),
			Ack: wire.MaxSeq(c.gar, c.gss.Add(-200)), Options: opts, Data: buf[:100]}
		c.HandlePacket(now, &q)
		for e, ok := c.Event(); ok; e, ok = c.Event() {
			if e.Kind == EventData {
				c.Refuse(wire.DropReceiveBuffer)
			}
		}
		c.HandleTimer(now)
		for ok := true; ok; {
			_, _, ok = c.AppendPacket(now, buf)
		}
		if c.State() != StateOpen {
			t.Fatalf("%v: %v", c.State(), c.Err())
		}
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A connection's memory is bounded whatever its peer does: what the history of
// packets, the acknowledgements under way and the answers to options may take.
func TestMemoryIsBounded(t *testing.T) {
	const conns, most = 10, 40 << 10
	for name, d := range congestion {
		cfg := Config{CCIDs: []ccid.CCID{d}}
		all := make([]*Conn, conns)
		before := heapInUse()
		for i := range all {
			p := opened(t, cfg, cfg)
			abuse(t, p.b.c, p.now, rand.New(rand.NewPCG(uint64(i), 9)))
			all[i] = p.b.c
		}
		each := (heapInUse() - before) / conns
		st := all[0].Stats()
		t.Logf("%s: %d octets a connection; %+v", name, each, st)
		if each > most {
			t.Errorf("%s: %d octets a connection", name, each)
		}
		if st.DataOverflow < 300 || len(all[0].in.ring) != maxHistory {
			t.Errorf("%s: a history of %d, and %+v", name, len(all[0].in.ring), st)
		}
		runtime.KeepAlive(all)
	}
}
