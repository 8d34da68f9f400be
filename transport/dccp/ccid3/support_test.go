package ccid3

import (
	"math"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// rig drives an HC-Sender by hand: packet n has the number seq(n).
type rig struct {
	*Sender
	t    *testing.T
	now  time.Time
	next int
	peer wire.Seq
	size int
}

func newRig(t *testing.T, rtt time.Duration) *rig {
	s := NewSender(ccid.Setup{Now: epoch, Next: origin, MPS: 1400, RTT: rtt})
	return &rig{Sender: s, t: t, now: epoch, peer: 7000, size: 1000}
}

func (r *rig) pass(d time.Duration) { r.now = r.now.Add(d) }

func (r *rig) send(backlog int) uint8 {
	wc := r.CCVal(r.now)
	r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Size: r.size, Data: true, Backlog: backlog})
	r.next++
	return wc
}

// fill sends all that is allowed now, with more waiting.
func (r *rig) fill() (n int) {
	for {
		if ok, _ := r.Allowed(r.now, r.size); !ok || n > 300000 {
			return n
		}
		r.send(1)
		n++
	}
}

// until sends as fast as is allowed for d.
func (r *rig) until(d time.Duration) (n int) {
	end := r.now.Add(d)
	for {
		n += r.fill()
		_, at := r.Allowed(r.now, r.size)
		if at.IsZero() || at.After(end) { // zero: feedback alone lets it go on
			r.now = end
			return n
		}
		r.now = at
	}
}

// round sends for d as fast as is allowed; then comes feedback on what was
// sent up to 100 ms ago, which makes a round trip of 100 ms exactly.
func (r *rig) round(d time.Duration, recv float64, inverse uint32) {
	r.until(d)
	r.feedback(recv, inverse)
}

func (r *rig) feedback(recv float64, inverse uint32) { r.feedbackAfter(100*ms, recv, inverse) }

// feedbackAfter is feedback after another round trip.
func (r *rig) feedbackAfter(rtt time.Duration, recv float64, inverse uint32) {
	if inverse == 0 {
		inverse = noLoss
	}
	sent := r.now.Add(-rtt).Sub(epoch)
	n := r.next - 1
	for n > 0 && r.hist.at(seq(n)).at > sent {
		n--
	}
	r.heardWith(ccid.Ack{Ack: seq(n), Elapsed: sent - r.hist.at(seq(n)).at}, recv, inverse)
}

// heard takes feedback on packet n: receive rate, loss event rate as 1/p, 0
// for none, in Linux's dialect, which is the shorter one.
func (r *rig) heard(n int, recv float64, inverse uint32) {
	if inverse == 0 {
		inverse = noLoss
	}
	r.heardWith(ccid.Ack{Ack: seq(n), Elapsed: -1}, recv, inverse)
}

func (r *rig) heardWith(a ccid.Ack, recv float64, inverse uint32) {
	r.peer = r.peer.Add(1)
	a.Seq = r.peer
	a.Options = append(a.Options,
		wire.Option{Type: wire.OptReceiveRate, Data: appendRate(nil, wire.OptReceiveRate, uint32(recv))[2:]},
		wire.Option{Type: wire.OptLossEventRate, Data: appendRate(nil, wire.OptLossEventRate, inverse)[2:]})
	r.Acked(r.now, &a)
}

func (r *rig) is(what string, x float64) {
	r.t.Helper()
	if math.Abs(r.rate.x-x) > 1e-6*x {
		r.t.Errorf("%s: X %.3f octets/s, want %.3f", what, r.rate.x, x)
	}
}

// settle brings the sender to congestion avoidance at p = 1 %, R = 100 ms, with
// 1000 octets: X_Bps = 112 332 (half of the table's 224 664 for 50 ms).
func settled(t *testing.T) *rig {
	r := newRig(t, 100*ms)
	for range 30 {
		r.round(100*ms, 110000, 100)
	}
	r.is("settled", 112332.234)
	if n := r.Stats().Reductions; n != 1 {
		t.Errorf("%d loss events, want 1", n)
	}
	return r
}
