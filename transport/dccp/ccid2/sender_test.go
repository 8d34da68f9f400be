package ccid2

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// RFC 4341, Section 4: no connection without Ack Vectors from the receiver.
func TestAckVectorsAreInsistedOn_RFC4341_4(t *testing.T) {
	c := New()
	if len(c.Needs) != 1 || c.ID != ccid.TCPLike {
		t.Fatalf("%+v", c)
	}
	n := c.Needs[0]
	if n.Feature != wire.FeatSendAckVector || !n.Remote || !n.Mandatory || string(n.Values) != "\x01" {
		t.Errorf("%+v", n)
	}
}

// RFC 4341, Section 6: what has no Ack Vector acknowledges nothing; nor does
// an acknowledgement of what was never sent.
func TestAcknowledgementsThatSayNothing_RFC4341_6(t *testing.T) {
	r := newRig(t, 1000)
	r.fill()
	r.ack(3)
	r.is("no vector", 4, -1, 4)
	r.ack(500, "r64", "r64")
	r.is("not sent yet", 4, -1, 4)
	r.ackWith(ccid.Ack{Ack: first.Add(-1000)}, "r10")
	r.is("long gone", 4, -1, 4)
	r.Acked(r.now, &ccid.Ack{Ack: seq(3), Vector: []byte{0xbf, 0x80}})
	r.is("reserved state", 4, -1, 4)
}

// RFC 4341, Section 6.2: the peer's acknowledgements are acknowledged at least
// once for each window.
func TestAcknowledgementsAreAcknowledgedOnceAWindow_RFC4341_6_2(t *testing.T) {
	r := newRig(t, 1000)
	r.win.cwnd, r.win.ssthresh = 10, 10
	wished, since := 0, 0
	for range 100 {
		r.send(1, true)
		since++
		r.ack(r.next-1, "r")
		if r.Wishes().AckOfAcks {
			wished++
			if since > r.win.cwnd {
				t.Fatalf("%d packets since the last, with a window of %d", since, r.win.cwnd)
			}
			since = 0
			r.Sent(r.now, ccid.Sent{Seq: seq(r.next), Data: true, Ack: true, Backlog: 1})
			r.next++
			if r.Wishes().AckOfAcks {
				t.Fatal("wished again at once")
			}
		}
	}
	if wished < 5 {
		t.Errorf("wished %d times for 100 packets", wished)
	}
	// Nothing came: nothing to acknowledge.
	r = newRig(t, 1000)
	r.send(50, true)
	if r.Wishes().AckOfAcks {
		t.Error("wished though nothing came")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	r := newRig(t, 1000)
	r.send(1, true)
	for range 3 * maxHistory {
		r.control()
	}
	if n := len(r.hist.ring); n > maxHistory || r.hist.len() > maxHistory {
		t.Errorf("%d packets remembered in %d places", r.hist.len(), n)
	}
	if r.pipe != 0 || r.Stats().Losses != 1 {
		t.Errorf("pipe %d, %+v: the packet that was forgotten is still waited for", r.pipe, r.Stats())
	}
	// A sender without data remembers nothing.
	r = newRig(t, 1000)
	for range 1000 {
		r.control()
	}
	if r.hist.ring != nil {
		t.Errorf("%d places for packets without data", len(r.hist.ring))
	}
	// Numbers that were used without telling.
	r.send(1, true)
	r.next += maxHistory / 2
	r.send(1, true)
	r.next += 1 << 40
	r.send(2, true)
	r.ack(r.next-1, "r2")
	if r.pipe != 0 {
		t.Errorf("pipe %d", r.pipe)
	}
}

func TestSenderDoesNotAllocate(t *testing.T) {
	r := newRig(t, 1000)
	r.Feature(wire.FeatAckRatio, 2)
	a := ccid.Ack{Vector: vector("r2", "m", "r9"), Elapsed: time.Millisecond}
	h := ccid.Received{Type: wire.Ack}
	round := func() {
		for range 100 {
			r.fill()
			r.pass(time.Millisecond)
			r.peer = r.peer.Add(1)
			h.Seq, a.Seq = r.peer, r.peer
			a.Ack = seq(r.next - 1)
			r.Heard(r.now, &h)
			r.Acked(r.now, &a)
			r.Wishes()
			if !r.Next().IsZero() {
				r.now = r.Next()
				r.Advance(r.now)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n != 0 {
		t.Errorf("%v allocations for 100 windows", n)
	}
}
