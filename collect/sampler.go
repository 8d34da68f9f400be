package collect

import (
	"sync"
	"time"
)

// A sampler lets so many log lines pass in a second and counts the others, so
// that garbage from the network cannot fill a disk.
type sampler struct {
	perSecond int

	mu         sync.Mutex
	second     int64
	passed     int
	suppressed uint64
}

// allow reports whether a line may be written, and how many were not since the
// last one that was.
func (s *sampler) allow(now time.Time) (suppressed uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := now.Unix(); sec != s.second {
		s.second, s.passed = sec, 0
	}
	if s.passed >= s.perSecond {
		s.suppressed++
		return 0, false
	}
	s.passed++
	suppressed, s.suppressed = s.suppressed, 0
	return suppressed, true
}

// unlogged adds how many lines were left out since the last one, if any were.
func unlogged(args []any, n uint64) []any {
	if n == 0 {
		return args
	}
	return append(args, "suppressed", n)
}
