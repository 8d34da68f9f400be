package ccidtest

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/sim"
)

// Epoch is when simulations begin.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Flow is one connection's halves over a line of its own: A sends to B.
type Flow struct {
	*sim.Net
	A, B        *Peer
	Node        *sim.Node // A's
	There, Back *sim.Link

	t testing.TB
}

// NewFlow makes one with messages of 1000 octets.
func NewFlow(t testing.TB, c ccid.CCID, seed uint64, there, back sim.LinkConfig) *Flow {
	f := &Flow{Net: sim.New(seed, Epoch), t: t}
	f.A, f.B = New(c, Epoch, 1000, there.Delay+back.Delay)
	f.There, f.Back = f.Link(there), f.Link(back)
	f.Node, _ = f.Connect(f.A, f.B, []*sim.Link{f.There}, []*sim.Link{f.Back})
	return f
}

// Bottleneck is one over 10 Mbit/s with a queue of 64000 octets and 25 ms each way.
func Bottleneck(t testing.TB, c ccid.CCID, seed uint64) *Flow {
	return NewFlow(t, c, seed, Line(10e6, 64000, 25*time.Millisecond), Line(10e6, 0, 25*time.Millisecond))
}

// SetDown cuts the line both ways, or mends it.
func (f *Flow) SetDown(down bool) {
	f.There.SetDown(down)
	f.Back.SetDown(down)
}

// Pass lets time go by; a simulation that does not come to its end fails the
// test.
func (f *Flow) Pass(d time.Duration) {
	f.t.Helper()
	if err := f.Run(d); err != nil {
		f.t.Fatal(err)
	}
}

// Rate lets time go by and tells how many bits of messages came a second.
func (f *Flow) Rate(d time.Duration) float64 {
	f.t.Helper()
	before := f.B.Octets
	f.Pass(d)
	return float64(f.B.Octets-before) * 8 / d.Seconds()
}

// Each lets the application write so many messages in each period.
func (f *Flow) Each(period time.Duration, messages int) {
	f.Every(period, period, func() bool {
		if f.A.Backlog >= 0 {
			f.A.Backlog += messages
		}
		f.Node.Wake()
		return true
	})
}

// Line is a link of a rate in bits a second, a queue in octets and a delay.
func Line(rate int64, queue int, delay time.Duration) sim.LinkConfig {
	return sim.LinkConfig{Rate: rate, Queue: queue, Delay: delay}
}
