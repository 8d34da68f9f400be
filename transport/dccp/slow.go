package dccp

import "time"

const (
	// manyRead at once may be more to come.
	manyRead = 16
	// slowTime is how long peers are asked not to go faster after the receive
	// buffer has filled: it would fill again.
	slowTime = time.Second
	// shareKnown is how many packets a connection's share is judged by.
	shareKnown = 8
)

// crowd decides whom a reader that does not keep up asks not to go faster (RFC
// 4340, Section 11.6): those who send no less than half of what others send at
// that time. Whoever has only begun would not come far otherwise. The zero
// value works.
type crowd struct {
	pressed time.Time // when the receive buffer was last seen to fill
	slow    bool      // that was within slowTime
	period  uint64    // in which shares are counted
	began   time.Time
	conns   uint64 // that sent in it
	total   uint64 // packets
}

// share is a connection's part in it.
type share struct{ period, packets uint64 }

// read is told of each batch before it is handled.
func (k *crowd) read(now time.Time) {
	if k.slow = now.Sub(k.pressed) < slowTime; k.slow && now.Sub(k.began) >= slowTime {
		*k = crowd{pressed: k.pressed, slow: true, period: k.period + 1, began: now}
	}
}

// ask takes a packet of a connection and reports whether to ask it.
func (k *crowd) ask(s *share) bool {
	if !k.slow {
		return false
	}
	if s.period != k.period {
		*s = share{period: k.period}
		k.conns++
	}
	s.packets++
	k.total++
	return s.packets >= shareKnown && 2*s.packets*k.conns >= k.total
}
