package ccid2_test

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccidtest"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// A window that is probed by losses at the queue's end: the line stays full,
// no timeout is needed, and one packet or two are lost each time.
func TestBottleneckIsFilled(t *testing.T) {
	f := ccidtest.Bottleneck(t, ccid2.New(), 1)
	f.A.Backlog = -1
	f.Pass(5 * time.Second)
	rate := f.Rate(20 * time.Second)
	s, l := f.A.Tx.Stats(), f.There.Stats()
	t.Logf("%.2f of 10 Mbit/s, %+v, %+v", rate/1e6, s, l)
	if rate < 9.5e6 {
		t.Errorf("%.2f of 10 Mbit/s", rate/1e6)
	}
	if s.Timeouts != 0 || s.Losses != l.Overflowed {
		t.Errorf("%d timeouts, %d losses seen of %d", s.Timeouts, s.Losses, l.Overflowed)
	}
	if s.Reductions < 3 || s.Reductions > 8 {
		t.Errorf("%d reductions in 25 s", s.Reductions)
	}
}

// Losses in bursts, reordering and duplicates at once: what the sender holds
// for lost is what the line lost, give or take what came too late, and no
// packet is outstanding in the end.
func TestAccountsHoldOnABadLine(t *testing.T) {
	cfg := ccidtest.Line(5e6, 50000, 20*time.Millisecond)
	cfg.Loss, cfg.BurstStart, cfg.BurstEnd = 0.005, 0.002, 0.5
	cfg.Duplicate = 0.01
	f := ccidtest.NewFlow(t, ccid2.New(), 7, cfg, cfg)
	f.A.Backlog = 20000
	f.Pass(5 * time.Minute)
	s, l := f.A.Tx.Stats(), f.There.Stats()
	t.Logf("%+v %+v", s, l)
	if f.A.Backlog != 0 || s.Flight != 0 {
		t.Fatalf("%d messages wait, %d packets outstanding", f.A.Backlog, s.Flight)
	}
	if f.A.Sent-f.B.Got > s.Losses {
		t.Errorf("%d messages did not arrive, the sender knows of %d", f.A.Sent-f.B.Got, s.Losses)
	}
	// A timeout may give up what was only late, or whose acknowledgement was lost.
	if lost := l.Lost + l.Overflowed; s.Losses > lost+lost/4 {
		t.Errorf("%d losses seen, %d happened", s.Losses, lost)
	}
}

// RFC 4341, Section 5: when a whole window and all acknowledgements are lost,
// the transmit timeout brings the sender back, however long it takes.
func TestSenderRecoversFromABlackout_RFC4341_5(t *testing.T) {
	for _, out := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 5 * time.Minute} {
		f := ccidtest.Bottleneck(t, ccid2.New(), 1)
		f.A.Backlog = -1
		f.Pass(5 * time.Second)
		f.SetDown(true)
		sent := f.A.Sent
		f.Pass(out)
		if n := f.A.Sent - sent; n > 150 {
			t.Errorf("%d packets into a dead line in %v", n, out)
		}
		f.SetDown(false)
		// The timer has backed off to 64 s at most; then slow start.
		f.Pass(min(2*out, 65*time.Second) + 2*time.Second)
		if rate := f.Rate(4 * time.Second); rate < 9e6 {
			t.Errorf("%.2f Mbit/s after %v without a line: %+v", rate/1e6, out, f.A.Tx.Stats())
		}
		if f.A.Tx.Stats().Timeouts == 0 {
			t.Errorf("no timeout in %v without a line", out)
		}
	}
}

// linuxLike acknowledges every Ack Ratio packets and never otherwise, as
// Linux's CCID 2 does: it has no timer for delayed acknowledgements.
type linuxLike struct {
	ccid.Receiver
	ratio, waiting int
}

func (l *linuxLike) Feature(f wire.Feature, v uint64) {
	if f == wire.FeatAckRatio {
		l.ratio = int(v)
	}
	l.Receiver.Feature(f, v)
}

func (l *linuxLike) Received(now time.Time, r *ccid.Received) {
	l.Receiver.Received(now, r)
	if r.Data {
		l.waiting++
	}
}

func (l *linuxLike) AckDue(time.Time) bool { return l.waiting >= l.ratio }
func (l *linuxLike) Next() time.Time       { return time.Time{} }
func (l *linuxLike) AckSent(now time.Time, s wire.Seq, data bool) {
	l.waiting = 0
	l.Receiver.AckSent(now, s, data)
}

// RFC 4341, Section 6.1.2: an application that sends a message a second is
// acknowledged each time, also by a peer that waits for Ack Ratio packets:
// nothing times out.
func TestLoneMessagesDoNotTimeOut_RFC4341_6_1_2(t *testing.T) {
	for _, linux := range []bool{false, true} {
		for _, lossy := range []bool{false, true} {
			f := ccidtest.Bottleneck(t, ccid2.New(), 3)
			if lossy {
				f.Back.Set(sim.LinkConfig{Delay: 25 * time.Millisecond, Loss: 0.1})
			}
			if linux {
				f.B.Rx = &linuxLike{Receiver: f.B.Rx, ratio: 2}
			}
			f.Each(time.Second, 1)
			f.Pass(100*time.Second + 500*time.Millisecond)
			s := f.A.Tx.Stats()
			if f.B.Got != 100 || s.Flight != 0 {
				t.Errorf("linux %v: %d messages of 100 came, %+v", linux, f.B.Got, s)
			}
			// One acknowledgement in ten is lost; each of those is a timeout.
			if !lossy && s.Timeouts != 0 || s.Timeouts > 20 {
				t.Errorf("linux %v, lossy %v: %d timeouts", linux, lossy, s.Timeouts)
			}
			if n := f.B.Acks; n < 99 || n > 130 {
				t.Errorf("linux %v: %d acknowledgements for 100 messages", linux, n)
			}
			// Then as much as will go: acknowledgements become fewer again.
			f.A.Backlog = -1
			f.Node.Wake()
			acks, got := f.B.Acks, f.B.Got
			f.Pass(10 * time.Second)
			acks, got = f.B.Acks-acks, f.B.Got-got
			if per := float64(got) / float64(acks); !lossy && (per < 1.8 || per > 2.2) {
				t.Errorf("linux %v: one acknowledgement for %.2f packets of bulk data", linux, per)
			}
		}
	}
}

// Bursts of messages, as an exporter writes them: nothing stalls.
func TestBurstsOfMessages(t *testing.T) {
	f := ccidtest.Bottleneck(t, ccid2.New(), 3)
	f.Each(5*time.Second, 7)
	f.Pass(100*time.Second + 500*time.Millisecond)
	if s := f.A.Tx.Stats(); f.B.Got != 140 || s.Timeouts != 0 || s.Flight != 0 {
		t.Errorf("%d messages of 140 came, %+v", f.B.Got, s)
	}
}

// RFC 4341, Section 6.1: acknowledgements that are lost become fewer; the data
// goes on.
func TestAckRatioRelievesTheReversePath_RFC4341_6_1(t *testing.T) {
	for _, c := range []struct{ loss, least, most, rate float64 }{{0, 1.9, 2.1, 9.5}, {0.02, 5, 20, 9}, {0.2, 5, 40, 2}} {
		back := sim.LinkConfig{Delay: 25 * time.Millisecond, Loss: c.loss}
		f := ccidtest.NewFlow(t, ccid2.New(), 5, ccidtest.Line(10e6, 64000, 25*time.Millisecond), back)
		f.A.Backlog = -1
		f.Pass(10 * time.Second)
		acks, got := f.B.Acks, f.B.Got
		f.Pass(20 * time.Second)
		acks, got = f.B.Acks-acks, f.B.Got-got
		per, rate := float64(got)/float64(acks), float64(got)*8000/20/1e6
		t.Logf("%.0f%% of the acknowledgements lost: one for %.1f packets, %.2f Mbit/s, %+v", 100*c.loss, per, rate, f.A.Tx.Stats())
		if per < c.least || per > c.most {
			t.Errorf("%.0f%% of the acknowledgements lost: one for %.1f packets, want %v to %v", 100*c.loss, per, c.least, c.most)
		}
		// With an acknowledgement in five lost, all of a window are, now and then.
		if rate < c.rate {
			t.Errorf("%.0f%% of the acknowledgements lost: %.2f of 10 Mbit/s", 100*c.loss, rate)
		}
	}
}

// RFC 4341, Section 7: marks do what losses do, without the losses.
func TestMarksKeepTheQueueShort_RFC4341_7(t *testing.T) {
	cfg := ccidtest.Line(10e6, 64000, 25*time.Millisecond)
	cfg.MarkAt = 20000
	f := ccidtest.NewFlow(t, ccid2.New(), 1, cfg, ccidtest.Line(10e6, 0, 25*time.Millisecond))
	f.A.Capable = true
	f.A.Backlog = -1
	f.Pass(5 * time.Second)
	lost := f.There.Stats().Overflowed
	rate := f.Rate(15 * time.Second)
	s := f.A.Tx.Stats()
	t.Logf("%.2f Mbit/s, %+v, %+v", rate/1e6, s, f.There.Stats())
	if n := f.There.Stats().Overflowed - lost; n != 0 || s.Reductions < 5 || rate < 8.5e6 {
		t.Errorf("%d lost, %d reductions, %.2f Mbit/s", n, s.Reductions, rate/1e6)
	}
}
