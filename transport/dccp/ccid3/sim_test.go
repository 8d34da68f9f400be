package ccid3_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/ccidtest"
	"ipfixsuite/transport/dccp/wire"
)

// losses drops packets by chance and counts loss events by the clock: the
// truth to hold the receiver's window counters and the sender's arithmetic
// against.
type losses struct {
	rnd           *rand.Rand
	p             float64
	rtt           time.Duration
	since         time.Time
	packets, lost int
	events        int
}

func (l *losses) filter(now time.Time, b []byte) bool {
	l.packets++
	if len(b) < 900 || l.rnd.Float64() >= l.p {
		return true
	}
	l.lost++
	if l.events == 0 || now.Sub(l.since) > l.rtt {
		l.events++
		l.since = now
	}
	return false
}

// RFC 5348, Section 3.1: at a fixed rate of losses the sender has the
// equation's throughput, for the loss events and the round trip as they really
// were; and it has it smoothly: from one round trip to the next the rate moves
// little.
func TestRateFollowsTheEquation_RFC5348_3_1(t *testing.T) {
	const rtt = 20 * time.Millisecond
	for _, p := range []float64{0.001, 0.01, 0.05} {
		for seed := range uint64(2) {
			f := ccidtest.NewFlow(t, ccid3.New(), seed, ccidtest.Line(200e6, 0, rtt/2), ccidtest.Line(200e6, 0, rtt/2))
			l := &losses{rnd: rand.New(rand.NewPCG(seed, 9)), p: p, rtt: rtt}
			f.There.Filter = l.filter
			f.A.Backlog = -1
			f.Pass(10 * time.Second)
			*l = losses{rnd: l.rnd, p: p, rtt: rtt}
			const seconds = 25
			down, up := 1.0, 1.0
			last := f.A.Tx.Stats().Rate
			var rates []float64
			for range seconds {
				before := f.A.Sent
				for range int(time.Second / rtt) {
					f.Pass(rtt)
					x := f.A.Tx.Stats().Rate
					down, up = min(down, x/last), max(up, x/last)
					last = x
				}
				rates = append(rates, float64(f.A.Sent-before)*1000)
			}
			mean := float64(l.packets) * 1000 / seconds
			e := float64(l.events) / float64(l.packets)
			// With t_RTO = 4 R, as RFC 5348 prints it.
			r := rtt.Seconds()
			want := 1000 / (r*math.Sqrt(2*e/3) + 4*r*(3*math.Sqrt(3*e/8)*e*(1+32*e*e)))
			var v float64
			for _, x := range rates {
				v += (x - mean) * (x - mean) / seconds
			}
			cov := math.Sqrt(v) / mean
			t.Logf("%4.1f %% lost, seed %d: %7.0f octets/s, equation %7.0f (p %.4f): %.3f; variation %.2f, steps %.2f to %.2f",
				100*p, seed, mean, want, e, mean/want, cov, down, up)
			if mean < 0.9*want || mean > 1.1*want {
				t.Errorf("%.1f %% lost: %.0f octets/s, the equation says %.0f", 100*p, mean, want)
			}
			// TCP halves its window at each loss event.
			if cov > 0.35 || down < 0.7 || up > 1.2 {
				t.Errorf("%.1f %% lost: variation %.2f, steps %.2f to %.2f", 100*p, cov, down, up)
			}
		}
	}
}

// A bottleneck is filled, and once slow start is over hardly anything is lost.
func TestBottleneckIsFilled(t *testing.T) {
	f := ccidtest.Bottleneck(t, ccid3.New(), 1)
	f.A.Backlog = -1
	f.Pass(20 * time.Second)
	lost := f.There.Stats().Overflowed
	rate := f.Rate(30 * time.Second)
	lost = f.There.Stats().Overflowed - lost
	t.Logf("%.2f Mbit/s, %d lost, %+v", rate/1e6, lost, f.A.Tx.Stats())
	if rate < 9.3e6 || lost > 30 {
		t.Errorf("%.2f of 10 Mbit/s, %d lost", rate/1e6, lost)
	}
	if acks := float64(f.B.Acks) / 50; acks < 8 || acks > 25 {
		t.Errorf("%.1f feedback packets a second, at 50 to 100 ms of round trip", acks)
	}
}

// Reordering by two packets and duplicates are no losses.
func TestReorderingIsNoLoss(t *testing.T) {
	cfg := ccidtest.Line(0, 0, 25*time.Millisecond)
	cfg.Reorder, cfg.ReorderBy, cfg.Duplicate = 0.05, 2500*time.Microsecond, 0.02
	f := ccidtest.NewFlow(t, ccid3.New(), 1, cfg, cfg)
	// A thousand messages a second: two packets overtake at most.
	f.Every(0, time.Millisecond, func() bool {
		f.A.Backlog++
		f.Node.Wake()
		return true
	})
	// What had to wait in slow start has gone, closer together than that.
	f.Pass(10 * time.Second)
	if f.A.Backlog > 0 {
		t.Fatalf("%d messages wait", f.A.Backlog)
	}
	reduced, lost, got := f.A.Tx.Stats().Reductions, f.B.Rx.Stats().Losses, f.B.Got
	f.Pass(50 * time.Second)
	if f.B.Got-got < 49990 || f.There.Stats().Reordered < 2000 {
		t.Fatalf("%d messages, %+v", f.B.Got, f.There.Stats())
	}
	if f.A.Tx.Stats().Reductions != reduced || f.B.Rx.Stats().Losses != lost {
		t.Errorf("%+v, %+v", f.A.Tx.Stats(), f.B.Rx.Stats())
	}
}

// RFC 5348, Section 4.4: without feedback the sender slows down; when the line
// is back, so is the sender.
func TestSenderRecoversFromABlackout_RFC5348_4_4(t *testing.T) {
	for _, out := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 10 * time.Minute} {
		f := ccidtest.Bottleneck(t, ccid3.New(), 1)
		f.A.Backlog = -1
		f.Pass(10 * time.Second)
		f.SetDown(true)
		sent := f.A.Sent
		f.Pass(out)
		if n := f.A.Sent - sent; n > 1500 {
			t.Errorf("%d packets into a dead line in %v", n, out)
		}
		slow := f.A.Tx.Stats().Rate
		f.SetDown(false)
		// A packet in 64 seconds at the slowest.
		f.Pass(min(2*out, 65*time.Second) + 20*time.Second)
		rate := f.Rate(10 * time.Second)
		t.Logf("%v: down to %.0f octets/s, back at %.2f Mbit/s, %+v", out, slow, rate/1e6, f.A.Tx.Stats())
		if rate < 5e6 {
			t.Errorf("%.2f Mbit/s after %v without a line: %+v", rate/1e6, out, f.A.Tx.Stats())
		}
	}
}

// A message a second, and bursts of them: each is acknowledged at once or, in
// a burst, before the sender gives it up; nothing is taken for lost.
func TestLoneMessages(t *testing.T) {
	for _, burst := range []int{1, 7} {
		f := ccidtest.Bottleneck(t, ccid3.New(), 3)
		f.Each(time.Second, burst)
		f.Pass(100*time.Second + 900*time.Millisecond)
		s := f.A.Tx.Stats()
		if want := uint64(100 * burst); f.B.Got != want || s.Timeouts != 0 || s.Reductions != 0 {
			t.Errorf("bursts of %d: %d messages of %d came, %+v", burst, f.B.Got, want, s)
		}
		if n := f.B.Acks; n < 100 || n > 320 {
			t.Errorf("bursts of %d: %d feedback packets in 100 s", burst, n)
		}
		// Idleness has not taken the rate below that of a new connection.
		if s.Rate < 4000/s.RTT.Seconds()/2 {
			t.Errorf("bursts of %d: %.0f octets/s allowed", burst, s.Rate)
		}
	}
}

// A peer that tells the loss event rate alone, as Linux does, and one that
// tells intervals alone: the sender does alike with both.
func TestDialects(t *testing.T) {
	var rates []float64
	for _, only := range []wire.OptionType{wire.OptLossEventRate, wire.OptLossIntervals} {
		cfg := ccidtest.Line(0, 0, 25*time.Millisecond)
		cfg.Loss = 0.01
		f := ccidtest.NewFlow(t, ccid3.New(), 3, cfg, ccidtest.Line(0, 0, 25*time.Millisecond))
		f.B.Rx.Feature(wire.FeatSendLossEventRate, 1)
		f.B.Only = func(o wire.OptionType) bool { return o == only || o == wire.OptReceiveRate }
		f.A.Backlog = -1
		f.Pass(60 * time.Second)
		rates = append(rates, float64(f.B.Octets)/60)
	}
	t.Logf("octets/s: by loss event rate %.0f, by loss intervals %.0f", rates[0], rates[1])
	if q := rates[0] / rates[1]; q < 0.85 || q > 1.15 {
		t.Errorf("octets/s: by loss event rate %.0f, by loss intervals %.0f", rates[0], rates[1])
	}
}

// RFC 4342, Section 7: marks do what losses do, without the losses.
func TestMarksKeepTheQueueShort_RFC4342_7(t *testing.T) {
	cfg := ccidtest.Line(10e6, 64000, 25*time.Millisecond)
	cfg.MarkAt = 20000
	f := ccidtest.NewFlow(t, ccid3.New(), 1, cfg, ccidtest.Line(10e6, 0, 25*time.Millisecond))
	f.A.Capable = true
	f.A.Backlog = -1
	f.Pass(20 * time.Second)
	st := f.There.Stats()
	rate := f.Rate(20 * time.Second)
	now := f.There.Stats()
	t.Logf("%.2f Mbit/s, %+v, %+v", rate/1e6, f.A.Tx.Stats(), now)
	if now.Overflowed != st.Overflowed || now.Marked == st.Marked || rate < 8e6 {
		t.Errorf("%d lost, %d marked, %.2f Mbit/s", now.Overflowed-st.Overflowed, now.Marked-st.Marked, rate/1e6)
	}
}
