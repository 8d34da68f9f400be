package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// FuzzSender lets a sender send and believe whatever a peer makes up. Each
// step is an opcode and what it needs.
func FuzzSender(f *testing.F) {
	f.Add([]byte{0, 8, 1, 3, 4, 0xc0, 0x02, 0xc0, 0, 2, 30, 1, 1, 0})
	f.Add([]byte{0, 200, 4, 1, 9, 2, 0x40, 0x05, 0xa0, 3, 255, 0, 9})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newRig(t, 1000)
		take := func(n int) []byte {
			n = min(n, len(in))
			b := in[:n]
			in = in[n:]
			return b
		}
		one := func() int {
			if b := take(1); len(b) == 1 {
				return int(b[0])
			}
			return 0
		}
		for range 200 {
			if len(in) == 0 || r.next > 1<<13 {
				return
			}
			switch one() % 6 {
			case 0:
				r.send(one(), one()%2 == 0)
			case 1:
				a := ccid.Ack{Ack: seq(r.next - one() + 10), Elapsed: time.Duration(one()-1) * time.Millisecond}
				a.Vector, a.Dropped = take(one()%64), take(one()%16)
				a.SlowReceiver = one()%5 == 0
				r.peer = r.peer.Add(int64(one() - 100))
				a.Seq = r.peer
				r.Heard(r.now, &ccid.Received{Seq: a.Seq, Type: wire.Ack, CE: one()%3 == 0})
				r.Acked(r.now, &a)
			case 2:
				r.pass(time.Duration(one()) * 10 * time.Millisecond)
				r.Advance(r.now)
			case 3:
				r.Feature(wire.Feature(one()%8), uint64(one())<<one())
			case 4:
				r.control()
			case 5:
				r.fill()
			}
			r.check()
		}
	})
}

// check compares the sender's counts with what its history says.
func (r *rig) check() {
	r.t.Helper()
	outstanding := 0
	for s := r.hist.lo; s.Less(r.hist.hi); s = s.Add(1) {
		if e := r.hist.at(s); e.f&isData != 0 && e.f&gone == 0 {
			outstanding++
		}
	}
	if r.pipe != outstanding {
		r.t.Fatalf("pipe %d, %d packets outstanding", r.pipe, outstanding)
	}
	if r.win.cwnd < 1 || r.win.cwnd > maxWindow || r.win.ssthresh < minThreshold || r.win.limit < 1 {
		r.t.Fatalf("window %+v", r.win)
	}
	if r.Next().IsZero() != (r.pipe == 0) {
		r.t.Fatalf("timer %v with %d outstanding", r.Next(), r.pipe)
	}
	if w := r.Wishes(); w.AckRatio > 2 && int(w.AckRatio) > (r.win.cwnd+1)/2 {
		r.t.Fatalf("wish %+v with a window of %d", w, r.win.cwnd)
	}
	if d := r.est.rto(); d < minRTO || d > maxRTO {
		r.t.Fatalf("RTO %v", d)
	}
}
