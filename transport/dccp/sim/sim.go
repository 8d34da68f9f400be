// Package sim is a small network in virtual time, for tests of protocol cores
// and for trying out congestion control: links with a rate, a bounded queue,
// delay, jitter, loss, reordering, duplication and congestion marks, and any
// number of endpoints over them, bottlenecks shared or not.
//
//	endpoint -> access link -\                      /-> access link -> endpoint
//	endpoint -> access link ---> shared bottleneck ----> access link -> endpoint
//	endpoint -> access link -/                      \-> access link -> endpoint
//
// Everything that happens follows from the configuration and the seed: two
// runs are equal packet by packet. Nothing here knows the time of day, starts
// a goroutine or touches a socket; Run returns when the virtual time is over.
// In the steady state a packet costs no allocation.
//
// It carries octets and knows no DCCP. Not modelled: links that break packets
// up, damage to the octets, and queue management beyond a tail that drops and
// a threshold that marks.
package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Endpoint is one end of a conversation: a pure protocol core that is driven.
type Endpoint interface {
	// Receive takes a packet; its Data may be overwritten after the call.
	Receive(now time.Time, p Packet)
	// Transmit appends the next packet that wants to leave to b, or says no.
	// capable says that the packet may be marked instead of dropped.
	Transmit(now time.Time, b []byte) (p []byte, capable, ok bool)
	// Advance does what is due; Next says when that is, zero: never.
	Advance(now time.Time)
	Next() time.Time
}

// Packet is what arrives.
type Packet struct {
	Data []byte
	CE   bool // marked on the way (RFC 3168)
}

// burstLimit bounds what one endpoint may send or do without time passing: a
// core that asks to be woken for what it does not do would hold Run forever.
const burstLimit = 1 << 16

// StuckError tells of an endpoint that never lets time pass.
type StuckError struct {
	Node string
	At   time.Duration // since the start
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("%s does not let time go beyond %v", e.Node, e.At)
}

// Net is a network and its clock.
type Net struct {
	start  time.Time
	now    time.Duration // since start
	seed   uint64
	links  int
	events heap
	order  uint64
	free   []*parcel
	err    error
}

// New makes an empty network whose clock stands at start.
func New(seed uint64, start time.Time) *Net {
	return &Net{seed: seed, start: start}
}

// Now is the virtual time.
func (n *Net) Now() time.Time { return n.start.Add(n.now) }

// Elapsed is the virtual time since the start.
func (n *Net) Elapsed() time.Duration { return n.now }

// Rand gives a source of its own to each number, so that what one part of a
// test draws does not change what another part sees.
func (n *Net) Rand(stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(n.seed, stream))
}

// At has f called when d has passed since the start; a time that has gone by
// means now. Endpoints that f touches are to be woken by Node.Wake.
func (n *Net) At(d time.Duration, f func()) {
	n.push(event{at: max(d, n.now), fn: f})
}

// Every has f called at first and then after each period until it returns
// false.
func (n *Net) Every(first, period time.Duration, f func() bool) {
	var again func()
	next := first
	again = func() {
		if f() {
			next += period
			n.At(next, again)
		}
	}
	n.At(first, again)
}

// Run lets d pass. It ends early with a *StuckError when an endpoint sends or
// wakes without end at one moment.
func (n *Net) Run(d time.Duration) error {
	until := n.now + d
	for n.err == nil && len(n.events) > 0 && n.events[0].at <= until {
		e := n.events.pop()
		n.now = e.at
		switch {
		case e.fn != nil:
			e.fn()
		case e.parcel != nil:
			n.forward(e.parcel)
		default:
			e.node.wake(e.at)
		}
	}
	if n.err != nil {
		return n.err
	}
	n.now = until
	return nil
}

// Flight is how many packets are on links now.
func (n *Net) Flight() int {
	c := 0
	for i := range n.events {
		if n.events[i].parcel != nil {
			c++
		}
	}
	return c
}

// parcel is a packet on its way.
type parcel struct {
	data        []byte
	capable, ce bool
	path        *Path
	hop         int
}

// forward moves a parcel that has passed a link to the next one, or delivers it.
func (n *Net) forward(p *parcel) {
	p.hop++
	if p.hop < len(p.path.links) {
		p.path.links[p.hop].enter(p)
		return
	}
	p.path.to.deliver(p)
	n.release(p)
}

func (n *Net) take(data []byte) *parcel {
	var p *parcel
	if last := len(n.free) - 1; last >= 0 {
		p, n.free = n.free[last], n.free[:last]
	} else {
		p = new(parcel)
	}
	p.data = append(p.data[:0], data...)
	p.hop, p.capable, p.ce = 0, false, false
	return p
}

func (n *Net) release(p *parcel) { n.free = append(n.free, p) }
