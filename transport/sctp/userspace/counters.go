package userspace

import (
	"sync"
	"sync/atomic"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

// dropCounters counts what a Socket drops before it has an association.
type dropCounters [len(shim.Drops{})]atomic.Uint64

func (c *dropCounters) add(d shim.Drop) { c[d].Add(1) }

// goneCounters keeps what associations dropped that have ended.
type goneCounters struct {
	mu    sync.Mutex
	drops shim.Drops
}

// add takes an association's counts; a.mu is held.
func (g *goneCounters) add(a *association) {
	d := a.drops()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drops.Add(&d)
}

// drops counts what the association dropped; a.mu is held.
func (a *association) drops() shim.Drops {
	d := a.core.Counts().Drops
	d[shim.DropQueue] += a.queueDrops.Load()
	return d
}

// Dropped counts packets and chunks that went no further, by reason, all
// associations ever included.
func (s *Socket) Dropped() map[string]uint64 {
	var total shim.Drops
	for i := range s.drops {
		total[i] = s.drops[i].Load()
	}
	s.mu.RLock()
	live := make([]*association, 0, len(s.peers))
	for _, r := range s.tags {
		if a, ok := r.(*association); ok {
			live = append(live, a)
		}
	}
	s.mu.RUnlock()
	for _, a := range live {
		a.mu.Lock()
		if !a.over { // else it is in gone
			d := a.drops()
			total.Add(&d)
		}
		a.mu.Unlock()
	}
	s.gone.mu.Lock()
	total.Add(&s.gone.drops)
	s.gone.mu.Unlock()
	m := total.Map()
	if n := s.unsent.Load(); n > 0 {
		m["unsent"] = n
	}
	return m
}

// Associations is the number of living associations.
func (s *Socket) Associations() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.total
}

func (s *Socket) stats() sctp.AcceptorStats {
	return sctp.AcceptorStats{
		PacketsReceived: s.packets.Load(), BytesReceived: s.bytes.Load(),
		SocketDrops: s.conn.SocketDrops(),
		Refused:     s.refused.Load(),
		Limited:     s.limited.Load(),
		Dropped:     s.Dropped(),
	}
}
