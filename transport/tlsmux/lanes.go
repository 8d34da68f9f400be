package tlsmux

import (
	"time"

	"ipfixsuite/transport"
)

const (
	// restLeast is how long a stream rests before its next channel is asked
	// for, at first; it doubles with each channel of which nothing was
	// acknowledged, up to restMost.
	restLeast = time.Second
	restMost  = 30 * time.Second
)

// A renewal is a stream's whose channel was given up.
type renewal struct {
	vain int // channels in a row that brought nothing
	at   time.Time
}

// Room implements transport.Laned.
func (s *session) Room(stream uint16) int {
	i := int(stream) % streams
	if ch := s.channels[i].Load(); ch != nil {
		return ch.room()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rests(i) {
		return 0
	}
	return sendBuffer // Send opens it
}

// rests reports whether it is too soon for a stream's next channel. mu is held.
func (s *session) rests(i int) bool {
	r := s.renewed[i]
	return r != nil && time.Now().Before(r.at)
}

// Confirmed implements transport.Laned. Streams that differ by a multiple of
// Properties.Streams share a channel.
func (s *session) Confirmed(stream uint16) uint64 {
	ch := s.channels[int(stream)%streams].Load()
	if ch == nil {
		return 0
	}
	return ch.acknowledged()
}

// Freed implements transport.Laned.
func (s *session) Freed() <-chan struct{} { return s.freed }

// free gives a word to Freed.
func (s *session) free() { signal(s.freed) }

// falls is told that a channel is over. A Mux's lock is held.
func (s *session) falls() {
	s.fell.Store(true)
	signal(s.fallen)
	signal(s.freed)
}

// Fell implements transport.Laned.
func (s *session) Fell(dst []uint16) []uint16 {
	if !s.fell.Swap(false) {
		return dst
	}
	for i := range s.channels {
		if ch := s.channels[i].Load(); ch != nil && ch.fellNow() {
			dst = append(dst, uint16(i))
		}
	}
	return dst
}

// Renew implements transport.Laned.
func (s *session) Renew(stream uint16) {
	i := int(stream) % streams
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.channels[i].Swap(nil)
	if ch == nil {
		return
	}
	ch.abort()
	r := s.renewed[i]
	if r == nil {
		r = new(renewal)
		s.renewed[i] = r
	}
	if ch.acknowledged() > 0 {
		r.vain = 0
	}
	rest := min(restLeast<<min(r.vain, 8), restMost)
	r.vain++
	r.at = time.Now().Add(rest)
	time.AfterFunc(rest, s.free) // waits for nobody
}

// allFell is why the last channel ended, if none is left; nil: there are some.
func (s *session) allFell() error {
	var last error
	for ch := range s.opened {
		err := ch.failed()
		if err == nil {
			return nil
		}
		last = err
	}
	if last == nil {
		return transport.ErrPeerClosed // all were given up
	}
	return ended(last)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
