package sim

import "time"

// Path is the links that a packet takes, in order, and who gets it.
type Path struct {
	links []*Link
	to    *Node
}

// Node is an Endpoint in its place.
type Node struct {
	Name string // for errors

	net   *Net
	ep    Endpoint
	out   Path
	timer time.Duration // when the endpoint wants to be woken; -1: never
	armed time.Duration // of the earliest event that will look; -1: none
	buf   []byte

	moment time.Duration // when work was last done
	work   int           // how much since
}

// Connect puts two endpoints on the net: there leads from a to b, back from b
// to a. A link may be part of many paths.
func (n *Net) Connect(a, b Endpoint, there, back []*Link) (*Node, *Node) {
	na := &Node{Name: "a", net: n, ep: a, timer: -1, armed: -1}
	nb := &Node{Name: "b", net: n, ep: b, timer: -1, armed: -1}
	na.out = Path{links: there, to: nb}
	nb.out = Path{links: back, to: na}
	// Not served before Run: an endpoint may speak first, but only in time.
	n.At(n.now, na.Wake)
	n.At(n.now, nb.Wake)
	return na, nb
}

// Wake lets the endpoint send what it wants to and asks it for its next
// timer; to be called when something outside the simulation touched it.
func (v *Node) Wake() { v.serve() }

// wake is the timer's event. The timer may have moved since: one that is put
// off with every packet costs no event each time.
func (v *Node) wake(at time.Duration) {
	if at != v.armed {
		return
	}
	v.armed = -1
	if v.timer == at {
		v.ep.Advance(v.net.Now())
		v.serve()
		return
	}
	v.arm()
}

func (v *Node) arm() {
	if v.timer >= 0 && (v.armed < 0 || v.timer < v.armed) {
		v.armed = v.timer
		v.net.push(event{at: v.timer, node: v})
	}
}

func (v *Node) deliver(p *parcel) {
	v.ep.Receive(v.net.Now(), Packet{Data: p.data, CE: p.ce})
	v.serve()
}

// serve takes what the endpoint wants to send and sets its timer.
func (v *Node) serve() {
	now := v.net.Now()
	for {
		if v.stuck() {
			return
		}
		b, capable, ok := v.ep.Transmit(now, v.buf[:0])
		if !ok {
			break
		}
		v.buf = b
		p := v.net.take(b)
		p.capable, p.path = capable, &v.out
		if len(v.out.links) == 0 {
			v.net.push(event{at: v.net.now, parcel: p})
			continue
		}
		v.out.links[0].enter(p)
	}
	next := v.ep.Next()
	if next.IsZero() {
		v.timer = -1
		return
	}
	v.timer = max(next.Sub(v.net.start), v.net.now)
	v.arm()
}

func (v *Node) stuck() bool {
	if v.moment != v.net.now {
		v.moment, v.work = v.net.now, 0
	}
	if v.work++; v.work > burstLimit {
		v.net.err = &StuckError{Node: v.Name, At: v.net.now}
	}
	return v.net.err != nil
}
