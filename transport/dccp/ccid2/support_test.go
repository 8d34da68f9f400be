package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// first is the first packet's number; the numbers wrap soon after.
const first = wire.Seq(1<<48 - 3)

func seq(n int) wire.Seq { return first.Add(int64(n)) }

// rig drives an HC-Sender by hand: packet n has the number seq(n).
type rig struct {
	*Sender
	t    *testing.T
	now  time.Time
	next int
	peer wire.Seq
}

func newRig(t *testing.T, mps int) *rig {
	s := NewSender(ccid.Setup{Now: epoch, Next: first, MPS: mps})
	s.Feature(wire.FeatSequenceWindow, 1<<20)
	return &rig{Sender: s, t: t, now: epoch, peer: 7000}
}

func (r *rig) pass(d time.Duration) { r.now = r.now.Add(d) }

// send sends n data packets whether allowed or not; more says that the
// application has more.
func (r *rig) send(n int, more bool) {
	backlog := 0
	if more {
		backlog = 1
	}
	for range n {
		r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Size: 1000, Data: true, Backlog: backlog})
		r.next++
	}
}

// fill sends while the window allows, and returns how many packets went.
func (r *rig) fill() (n int) {
	for {
		if ok, _ := r.Allowed(r.now, 1000); !ok {
			return n
		}
		r.send(1, true)
		n++
	}
}

// control sends a packet without data.
func (r *rig) control() {
	r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Ack: true})
	r.next++
}

// ack takes an acknowledgement of packet n with runs of states, going back:
// "r3" three received, "m" one missing, "c2" two marked.
func (r *rig) ack(n int, runs ...string) { r.ackWith(ccid.Ack{Ack: seq(n)}, runs...) }

func (r *rig) ackWith(a ccid.Ack, runs ...string) {
	r.peer = r.peer.Add(1)
	a.Seq, a.Vector = r.peer, vector(runs...)
	if a.Elapsed == 0 {
		a.Elapsed = -1
	}
	r.Heard(r.now, &ccid.Received{Seq: a.Seq, Type: wire.Ack})
	r.Acked(r.now, &a)
}

func vector(runs ...string) (v []byte) {
	for _, run := range runs {
		n := 0
		for _, c := range run[1:] {
			n = n*10 + int(c-'0')
		}
		s := map[byte]wire.AckState{'r': wire.AckReceived, 'c': wire.AckECNMark, 'm': wire.AckMissing}[run[0]]
		v = wire.AppendAckRun(v, 0, s, max(n, 1))
	}
	return v
}

// is compares window, threshold and pipe; a threshold of -1 is not looked at.
func (r *rig) is(what string, cwnd, ssthresh, pipe int) {
	r.t.Helper()
	if ssthresh == -1 {
		ssthresh = r.win.ssthresh
	}
	if r.win.cwnd != cwnd || r.win.ssthresh != ssthresh || r.pipe != pipe {
		r.t.Errorf("%s: cwnd %d, ssthresh %d, pipe %d; want %d, %d, %d",
			what, r.win.cwnd, r.win.ssthresh, r.pipe, cwnd, ssthresh, pipe)
	}
}
