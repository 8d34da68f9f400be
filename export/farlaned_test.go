package export

import "time"

// farRest is how long a stream rests before it begins anew.
const farRest = 300 * time.Millisecond

// farLaned is a session that tells of its streams.
type farLaned struct{ *farSession }

// Room implements transport.Laned.
func (s farLaned) Room(stream uint16) int {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.room(stream)
}

// room is what a stream takes. World's lock is held, as in what follows.
func (s *farSession) room(stream uint16) int {
	if s.streams[stream].fell || !s.streams[stream].rests.IsZero() {
		return 0
	}
	return farBuffer - s.streams[stream].octets
}

// fall ends streams as chance has it, and those that are not taken.
func (s *farSession) fall(now time.Time) {
	left := 0
	for i := range s.streams {
		if !s.streams[i].fell {
			left++
		}
	}
	for i := range s.streams {
		st := &s.streams[i]
		if !st.rests.IsZero() && !now.Before(st.rests) {
			st.rests = time.Time{}
			signal(s.freed)
		}
		chance := st.read > 0 && s.w.falls > 0 && s.w.rng.Float64() < s.w.falls
		if left > 1 && !st.fell && st.octets+int(st.read) > 0 && (chance || now.Before(s.w.refuses[uint16(i)])) {
			st.fell, st.way, st.octets = true, nil, 0
			left--
			s.w.fallen++
			s.told = append(s.told, uint16(i))
			signal(s.freed)
		}
	}
}

// Confirmed implements transport.Laned.
func (s farLaned) Confirmed(stream uint16) uint64 {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.streams[stream].confirmed
}

// Freed implements transport.Laned.
func (s farLaned) Freed() <-chan struct{} { return s.freed }

// Fell implements transport.Laned.
func (s farLaned) Fell(dst []uint16) []uint16 {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	dst = append(dst, s.told...)
	s.told = nil
	return dst
}

// Renew implements transport.Laned.
func (s farLaned) Renew(stream uint16) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.streams[stream] = farStream{lives: s.streams[stream].lives + 1, rests: time.Now().Add(farRest)}
	for key := range s.tables {
		if key[1] == uint32(stream) {
			delete(s.tables, key)
		}
	}
	for key := range s.seqs {
		if key[1] == uint32(stream) {
			delete(s.seqs, key)
		}
	}
}
