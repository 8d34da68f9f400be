package udp

import "time"

const (
	// restTime is how long datagrams may gather in a busy socket. It delays
	// what is in it no more than a busy network does.
	restTime = time.Millisecond
	// restWorth is how many messages a rest must have gathered for the next.
	restWorth = 8
	// restShare is which part of the socket's buffer a rest may fill.
	restShare = 4
	// datagramCost is what the kernel counts for a datagram beside its octets.
	datagramCost = 1280
)

// A pace decides whether a reader that has emptied its socket rests a little
// before it looks again. Waking for each datagram costs more than the datagram:
// when they come faster than a few a millisecond, they are better taken
// together.
type pace struct {
	since    time.Time
	messages int // since then
	octets   int
	resting  bool // since is when a rest began
}

// rest is told what the last read brought, whether it emptied the socket, and
// the size of its buffer.
func (p *pace) rest(now time.Time, messages, octets int, empty bool, buffer int) bool {
	p.messages += messages
	p.octets += octets
	if !empty {
		return false
	}
	elapsed := now.Sub(p.since)
	busy := p.messages >= restWorth && (p.resting || elapsed < restTime)
	if !busy && !p.resting && elapsed < restTime {
		return false // too soon to tell
	}
	if busy {
		// As much may come again, in the time that a rest takes.
		cost := float64(p.octets+p.messages*datagramCost) * float64(restTime) / float64(max(elapsed, restTime/restWorth))
		busy = cost <= float64(buffer/restShare)
	}
	*p = pace{since: now, resting: busy}
	return busy
}
