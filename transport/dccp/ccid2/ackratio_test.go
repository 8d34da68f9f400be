package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// path is an ackPath with packets of the peer by number.
func path(ratio int) *ackPath { return &ackPath{ratio: ratio, want: ratio} }

// RFC 4341, Section 6.1.1: lost as data is, when three later packets came.
func TestLostAcknowledgementsAreInferred_RFC4341_6_1_1(t *testing.T) {
	for _, c := range []struct {
		name string
		seqs []int
		lost int
	}{
		{"in order", []int{0, 1, 2, 3, 4}, 0},
		{"one missing, two later", []int{0, 2, 3}, 0},
		{"one missing, three later", []int{0, 2, 3, 4}, 1},
		{"late by two", []int{0, 2, 3, 1, 4, 5}, 0},
		{"late by three", []int{0, 2, 3, 4, 1, 5, 6}, 1},
		{"two holes", []int{0, 2, 4, 5, 6, 7, 8}, 2},
		{"a long one", []int{0, 41, 42, 43, 44}, 40},
		{"a very long one", []int{0, 1000, 1001, 1002}, 999},
		{"duplicates", []int{0, 1, 1, 1, 3, 3, 3, 3}, 0},
		{"far too old", []int{0, 1, 2, -500, 3, 4}, 0},
		{"every second", []int{0, 2, 4, 6, 8, 10, 12}, 4},
	} {
		a := path(2)
		for _, s := range c.seqs {
			a.heard(wire.MakeSeq(uint64(1<<48-2+s)), false)
		}
		if a.lost != c.lost {
			t.Errorf("%s: %d lost, want %d", c.name, a.lost, c.lost)
		}
	}
}

// RFC 4341, Section 6.1.1: marks count on packets without data alone.
func TestMarkedAcknowledgements_RFC4341_6_1_1(t *testing.T) {
	r := newRig(t, 1000)
	r.Heard(r.now, &ccid.Received{Seq: 1, Type: wire.DataAck, Data: true, CE: true})
	r.Heard(r.now, &ccid.Received{Seq: 2, Type: wire.Ack, CE: true})
	r.Heard(r.now, &ccid.Received{Seq: 3, Type: wire.Ack})
	if r.acks.lost != 1 {
		t.Errorf("%d marked or lost", r.acks.lost)
	}
}

// windows lets n windows of cwnd packets be acknowledged, each with lost
// acknowledgements or without.
func (a *ackPath) windows(from, n, cwnd, lost int) int {
	for range n {
		a.outstanding(cwnd)
		a.lost += lost
		from += cwnd
		a.window(seq(from-1), seq(from+cwnd-1), cwnd)
	}
	return from
}

// RFC 4341, Section 6.1.2: doubled for a window with a lost acknowledgement,
// one less after cwnd/(R*R-R) windows without.
func TestAckRatioFollowsTheReversePath_RFC4341_6_1_2(t *testing.T) {
	const cwnd = 120
	a := path(2)
	at := a.windows(0, 1, cwnd, 0) // begins
	at = a.windows(at, 1, cwnd, 1)
	if a.want != 4 {
		t.Fatalf("%d after a lost acknowledgement, want 4", a.want)
	}
	// 120/(16-4) = 10, 120/(9-3) = 20, 120/(4-2) = 60.
	for _, c := range []struct{ windows, before, after int }{{10, 4, 3}, {20, 3, 2}, {60, 2, 1}} {
		at = a.windows(at, c.windows-1, cwnd, 0)
		if a.want != c.before {
			t.Errorf("%d after %d windows, want %d", a.want, c.windows-1, c.before)
		}
		at = a.windows(at, 1, cwnd, 0)
		if a.want != c.after {
			t.Errorf("%d after %d windows, want %d", a.want, c.windows, c.after)
		}
	}
	// A loss starts the count afresh.
	a = path(3)
	at = a.windows(0, 20, cwnd, 0)
	at = a.windows(at, 1, cwnd, 2)
	a.windows(at, 3, cwnd, 0)
	if a.want != 6 {
		t.Errorf("%d, want 6", a.want)
	}
}

// RFC 4341, Section 6.1.2: an integer, not more than half the window rounded
// up, though 2 is; at least 2 for a window of four or more.
func TestAckRatioBounds_RFC4341_6_1_2(t *testing.T) {
	for _, c := range []struct{ want, cwnd, use, wish int }{
		{1, 1, 1, 1}, {2, 1, 1, 1}, {1, 3, 3, 1}, {1, 4, 4, 2}, {1, 100, 100, 2},
		{8, 2, 2, 2}, {8, 3, 3, 2}, {8, 7, 7, 4}, {8, 8, 8, 4}, {8, 9, 9, 5}, {8, 100, 100, 8},
		// A wide window of which one packet is in use.
		{1, 100, 1, 1}, {1, 4, 0, 1},
	} {
		a := path(100)
		a.want = c.want
		a.outstanding(c.use)
		if w := a.wish(epoch, c.cwnd, time.Second); int(w) != c.wish {
			t.Errorf("wanted %d, window %d, %d in use: wish %d, want %d", c.want, c.cwnd, c.use, w, c.wish)
		}
	}
}

// RFC 4341, Section 6.1.2: not more than one negotiation in a round trip,
// unless the peer would wait for more packets than the window has.
func TestAckRatioIsSeldomRenegotiated_RFC4341_6_1_2(t *testing.T) {
	const rtt = 100 * time.Millisecond
	a := path(2)
	a.outstanding(100)
	wish := func(at time.Duration, cwnd int) int { return int(a.wish(epoch.Add(at), cwnd, rtt)) }
	a.want = 4
	if w := wish(0, 100); w != 4 {
		t.Fatalf("wish %d", w)
	}
	a.want = 8
	if w := wish(399*time.Millisecond, 100); w != 4 {
		t.Errorf("wish %d, the one before is not four round trips old", w)
	}
	if w := wish(400*time.Millisecond, 100); w != 8 {
		t.Errorf("wish %d after four round trips", w)
	}
	a.ratio = 8
	if w := wish(401*time.Millisecond, 100); w != 0 {
		t.Errorf("wish %d though it is in force", w)
	}
	if w := wish(402*time.Millisecond, 3); w != 2 {
		t.Errorf("wish %d when the window has shrunk to 3", w)
	}
	// The same while the wish is not granted yet.
	a = path(2)
	a.outstanding(100)
	a.want = 8
	wish(0, 100)
	if w := wish(time.Millisecond, 3); w != 0 || a.asked != 2 {
		t.Errorf("wish %d, asked %d when the window has shrunk to 3", w, a.asked)
	}
}
