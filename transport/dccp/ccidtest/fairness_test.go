package ccidtest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/sim"
)

const messageSize = 1000

// noise is what else uses the line: packets of all sizes at random times, a
// tenth of its rate. Without it, and without jitter, flows that are clocked by
// their acknowledgements march in step with a queue that drops its tail, and a
// millisecond of round trip decides who is dropped.
type noise struct {
	rnd *rand.Rand
	gap float64 // mean, in nanoseconds
	at  time.Time
}

func (s *noise) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if now.Before(s.at) {
		return b, false, false
	}
	s.at = now.Add(time.Duration(s.rnd.ExpFloat64() * s.gap))
	return append(b, make([]byte, 40+s.rnd.IntN(messageSize))...), false, true
}

func (s *noise) Receive(time.Time, sim.Packet) {}
func (s *noise) Advance(time.Time)             {}
func (s *noise) Next() time.Time               { return s.at }

// path is a bottleneck that flows of three kinds share.
type path struct {
	rate  int64
	rtt   time.Duration
	queue float64 // in round trips of the line's rate
	flows int     // of each kind
}

// share lets flows of TCP, CCID 2 and CCID 3 share a bottleneck. It returns the
// mean rate of each kind's flows in octets per second, and the loss rate.
func (p path) share(t *testing.T, seed uint64) (rates [3]float64, loss float64) {
	n := sim.New(seed, epoch)
	queue := int(p.queue * float64(p.rate) / 8 * p.rtt.Seconds())
	there := n.Link(sim.LinkConfig{Rate: p.rate, Queue: queue})
	back := n.Link(sim.LinkConfig{Rate: p.rate, Queue: queue})
	rnd := n.Rand(1)
	for i, l := range []*sim.Link{there, back} {
		n.Connect(&noise{rnd: n.Rand(uint64(2 + i)), gap: 540 * 8e9 / (0.1 * float64(p.rate))}, &noise{at: epoch.Add(time.Hour)}, []*sim.Link{l}, nil)
	}
	var got [3][]func() uint64
	add := func(kind int, a, b sim.Endpoint, octets func() uint64) {
		access := sim.LinkConfig{
			Delay:  p.rtt/2 - time.Duration(rnd.Int64N(int64(p.rtt/20))),
			Jitter: min(8*time.Duration(messageSize*8*int64(time.Second)/p.rate), p.rtt/4),
		}
		n.At(time.Duration(rnd.Int64N(int64(time.Second))), func() {
			n.Connect(a, b, []*sim.Link{n.Link(access), there}, []*sim.Link{n.Link(access), back})
		})
		got[kind] = append(got[kind], octets)
	}
	for i := range p.flows {
		s, r := newTCP(messageSize + 40)
		add(0, s, r, func() uint64 { return r.segments * messageSize })
		a, b := connect(t, ccid2.New(), epoch, messageSize, uint16(2000+i))
		add(1, a, b, func() uint64 { return b.octets })
		c, d := connect(t, ccid3.New(), epoch, messageSize, uint16(3000+i))
		add(2, c, d, func() uint64 { return d.octets })
		a.greedy, c.greedy = true, true
	}
	const warm, measured = 10 * time.Second, 30 * time.Second
	for i, d := range []time.Duration{warm, measured} {
		if err := n.Run(d); err != nil {
			t.Fatal(err)
		}
		for kind, flows := range got {
			for _, octets := range flows {
				rates[kind] += float64(2*i-1) * float64(octets()) / measured.Seconds() / float64(p.flows)
			}
		}
	}
	st := there.Stats()
	return rates, float64(st.Overflowed) / float64(st.Sent)
}

// RFC 4341, Section 1; RFC 4342, Section 5; RFC 5348, Section 1: both are fair
// to TCP and to each other: whatever the path, nobody has more than twice what
// another has.
func TestFairness_RFC5348_1(t *testing.T) {
	const seeds = 2
	t.Log("columns: Mbit/s  RTT queue flows | kbit/s of one flow: TCP CCID 2 CCID 3 | lost  | CCID2/TCP CCID3/TCP CCID3/CCID2")
	for _, p := range []path{
		{2e6, 50 * time.Millisecond, 1, 1},
		{2e6, 100 * time.Millisecond, 2, 1},
		{10e6, 20 * time.Millisecond, 1, 1},
		{10e6, 20 * time.Millisecond, 2, 2},
		{10e6, 100 * time.Millisecond, 0.5, 2},
		{10e6, 100 * time.Millisecond, 1.5, 2},
		{20e6, 50 * time.Millisecond, 0.7, 3},
	} {
		t.Run(fmt.Sprintf("%d Mbit per s, %v, queue %v, %d", p.rate/1e6, p.rtt, p.queue, p.flows), func(t *testing.T) {
			t.Parallel()
			var mean [3]float64
			for seed := range uint64(seeds) {
				r, loss := p.share(t, seed)
				t.Logf("%6.0f %4d %5.1f %5d | %5.0f %6.0f %6.0f | %.2f%% | %.2f %.2f %.2f", float64(p.rate)/1e6, p.rtt.Milliseconds(), p.queue, p.flows,
					r[0]*8/1000, r[1]*8/1000, r[2]*8/1000, 100*loss, r[1]/r[0], r[2]/r[0], r[2]/r[1])
				for kind := range r {
					mean[kind] += r[kind] / seeds
				}
			}
			if least, most := min(mean[0], mean[1], mean[2]), max(mean[0], mean[1], mean[2]); most > 2*least {
				t.Errorf("%+v: one has %.0f octets/s, another %.0f", p, most, least)
			}
			// The line is used.
			if sum := (mean[0] + mean[1] + mean[2]) * 8 * float64(p.flows); sum < 0.75*float64(p.rate) {
				t.Errorf("%+v: all together have %.2f Mbit/s", p, sum/1e6)
			}
		})
	}
}
