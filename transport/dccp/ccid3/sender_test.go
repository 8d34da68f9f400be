package ccid3

import (
	"math"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// RFC 4342, Section 8.1.
func TestWindowCounter_RFC4342_8_1(t *testing.T) {
	r := newRig(t, 100*ms)
	// A step for each quarter of 100 ms; a packet each 10 ms.
	var got []uint8
	for range 12 {
		got = append(got, r.send(0))
		r.pass(10 * ms)
	}
	for i, want := range []uint8{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3} {
		if got[i] != want {
			t.Fatalf("counters %v", got)
		}
	}
	// Not more than 5 from one packet to the next, whatever the silence (MUST).
	at := got[11]
	for _, d := range []time.Duration{130, 400, 1600, 60000} {
		r.pass(d * ms)
		wc := r.send(0)
		if step := (wc - at) % 16; step != 5 {
			t.Errorf("%d steps after %v", step, d*ms)
		}
		at = wc
	}
	// An acknowledgement of a packet with counter c: what follows has c+4 at
	// least (SHOULD), but not more than 5 beyond the packet before.
	r = newRig(t, time.Second)
	r.send(0)
	r.pass(20 * ms)
	r.heard(0, 0, 0)
	if wc := r.send(0); wc != 4 {
		t.Errorf("counter %d after the acknowledgement of one with 0", wc)
	}
	r.pass(20 * ms)
	r.heard(1, 1000, 0)
	r.pass(time.Minute)
	if wc := r.send(0); wc != 9 {
		t.Errorf("counter %d, want 4+5", wc)
	}
	// Without a round trip, one of 200 ms.
	r = newRig(t, 0)
	r.send(0)
	r.pass(110 * ms)
	if wc := r.send(0); wc != 2 {
		t.Errorf("counter %d after 110 of 200 ms", wc)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	r := newRig(t, 100*ms)
	for range 3 * maxHistory {
		r.send(1)
	}
	if n := len(r.hist.ring); n > maxHistory {
		t.Errorf("%d packets remembered", n)
	}
	if r.hist.at(seq(0)) != nil || r.hist.at(seq(r.next)) != nil || r.hist.at(seq(r.next-1)) == nil ||
		r.hist.at(seq(r.next-maxHistory)) == nil || r.hist.at(seq(r.next-maxHistory-1)) != nil {
		t.Error("which packets are remembered")
	}
	// A sender without data remembers nothing.
	r = newRig(t, 100*ms)
	for range 1000 {
		r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Ack: true})
		r.next++
	}
	if r.hist.ring != nil || !r.Next().IsZero() {
		t.Errorf("%d packets without data remembered, timer %v", len(r.hist.ring), r.Next())
	}
	r.send(1)
	r.next += 1 << 40 // numbers used without telling
	r.send(1)
	r.pass(100 * ms)
	r.heard(r.next-1, 1000, 0)
	if !r.got || r.hist.at(seq(r.next-2)) != nil {
		t.Error("after a gap in the numbers")
	}
}

func TestSenderDoesNotAllocate(t *testing.T) {
	r := newRig(t, 100*ms)
	options := []wire.Option{
		{Type: wire.OptReceiveRate, Data: []byte{0, 1, 0, 0}},
		{Type: wire.OptLossIntervals, Data: example[2:]},
	}
	a := ccid.Ack{Options: options, Elapsed: ms, Vector: []byte{3}}
	round := func() {
		for range 20 {
			r.until(100 * ms)
			r.peer = r.peer.Add(1)
			a.Seq, a.Ack = r.peer, seq(r.next-1)
			r.Acked(r.now, &a)
			r.Wishes()
			r.Advance(r.now)
			r.Next()
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%v allocations for 20 round trips", n)
	}
}

// FuzzSender lets a sender believe whatever a peer makes up.
func FuzzSender(f *testing.F) {
	f.Add([]byte{0, 5, 1, 0, 1, 0, 3, 0, 1, 0, 0, 0}, example[2:])
	f.Add([]byte{0, 5, 2, 255, 1, 9, 3, 255, 1, 2, 1, 0}, []byte{0, 0, 0, 0, 127, 255, 255, 0, 0, 1})
	f.Fuzz(func(t *testing.T, in, intervals []byte) {
		r := newRig(t, 0)
		for range 200 {
			if len(in) < 2 {
				return
			}
			v := int(in[1])
			switch in[0] % 6 {
			case 0:
				r.size = 1 + v*5
				for range v % 20 {
					r.send(v % 2)
				}
			case 1:
				r.pass(time.Duration(v) * ms)
			case 2:
				r.pass(time.Duration(v) * time.Second)
				r.Advance(r.now)
			case 3:
				r.heard(r.next-1-v%8, float64(v)*float64(v)*1000, uint32(v))
			case 4:
				r.heardWith(ccid.Ack{Ack: seq(r.next - 1), Elapsed: time.Duration(v) * ms, SlowReceiver: v%2 == 0, Dropped: in[2:min(len(in), 5)],
					Options: []wire.Option{{Type: wire.OptLossIntervals, Data: intervals}}}, float64(v)*10, 0)
			case 5:
				r.fill()
			}
			in = in[2:]
			if r.rate.s == 0 {
				continue
			}
			x := r.rate.inst()
			if math.IsNaN(x) || x < r.rate.least()*(1-1e-9) || r.pace.gap < 0 || r.pace.gap > maxBackoff+time.Second {
				t.Fatalf("X_inst %v, gap %v, %+v", x, r.pace.gap, r.rate)
			}
			// What may go at once is a round trip's worth at most.
			if r.now.Sub(r.pace.next(r.now)) > r.rate.rtt {
				t.Fatalf("behind the schedule by more than a round trip: %+v", r.rate)
			}
		}
	})
}
