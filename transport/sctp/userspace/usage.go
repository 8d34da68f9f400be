package userspace

import "sync/atomic"

// usage is what an association holds of its peer's data, in octets: packets
// that wait for pion, what pion holds by its last SACK, messages that wait for
// Receive.
type usage struct {
	own   atomic.Int64
	total *atomic.Int64 // of all on the socket
	pion  int           // part of own; association.mu is held
}

func (u *usage) add(n int) {
	u.own.Add(int64(n))
	u.total.Add(int64(n))
}

// holds takes what pion says it holds; association.mu is held.
func (u *usage) holds(n int) {
	if n != u.pion {
		u.add(n - u.pion)
		u.pion = n
	}
}

// greedy tells whether an association gets nothing more for now: together
// they hold more than they may, and this one more than its share. So one that
// is read is never stopped by others that are not.
func (s *Socket) greedy(u *usage) bool {
	if s.use.Load() <= int64(s.cfg.Memory) {
		return false
	}
	s.mu.RLock()
	share := int64(s.cfg.Memory / max(s.total, 1))
	s.mu.RUnlock()
	return u.own.Load() > share
}
