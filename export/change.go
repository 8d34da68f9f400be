package export

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

var (
	errNoCollector = errors.New("no collectors")
	errRemoved     = errors.New("its collector was removed")
)

// Settings are what of a Config can be changed while the Exporter runs. What
// they mean stands there.
type Settings struct {
	// Collectors are Dialer and Fallback in one: those that are the same
	// Dialers as before keep their sessions. The session of one that is no
	// longer there is replaced by one with another before it ends.
	Collectors         []transport.Dialer
	Rotate             time.Duration
	FullHandshakeEvery int
	MaxRate            float64
}

// change is what Change asks of the loop.
type change struct {
	Settings
	cause rotation.Cause
}

// Change applies settings, then replaces the session for the given cause
// (None: only if its collector is gone, or no longer the one to be preferred).
// It returns when the Exporter has taken note.
func (e *Exporter) Change(ctx context.Context, s Settings, cause rotation.Cause) error {
	if len(s.Collectors) == 0 {
		return errNoCollector
	}
	cfg := Config{Dialer: s.Collectors[0], Rotate: s.Rotate, FullHandshakeEvery: s.FullHandshakeEvery, MaxRate: s.MaxRate}
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.Collectors = slices.Clone(s.Collectors)
	select {
	case e.changes <- change{s, cause}:
		return nil
	case <-e.finished:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// change applies what Change was told. The loop calls it.
func (e *Exporter) change(now time.Time, c change) {
	l := &e.loop
	e.retarget(now, c.Collectors)
	l.machine.Pace(c.Rotate, c.FullHandshakeEvery)
	l.pace.rate = c.MaxRate
	l.machine.Want(c.cause)
}

// retarget makes others the collectors.
func (e *Exporter) retarget(now time.Time, list []transport.Dialer) {
	l := &e.loop
	old := l.dialers
	if slices.Equal(old, list) {
		return
	}
	from := make([]int, len(list))
	paths := make([]path, len(list))
	for i, d := range list {
		if from[i] = slices.Index(old, d); from[i] >= 0 {
			paths[i] = l.paths[from[i]]
		}
	}
	at := func(path int) int {
		if path < 0 {
			return path
		}
		return slices.Index(list, old[path])
	}
	l.dialers = list
	l.paths = paths
	l.choice.Change(from)
	for _, s := range append([]*session{l.cur, l.next, l.old}, l.gone...) {
		if s != nil {
			s.path = at(s.path)
		}
	}
	if b := l.building; b != nil {
		if b.path = at(b.path); b.path < 0 {
			b.cancel(errRemoved)
		}
	}
	if s := l.next; s != nil && !s.over && s.path < 0 {
		e.loseOther(s, now, errRemoved)
	}
	if l.cur != nil && l.cur.path != l.choice.Pick(now) {
		l.machine.Want(rotation.Path)
	}
}

// stray reports whether the session that carries data goes to a collector
// that was removed: then another is wanted until there is one.
func (l *loop) stray() bool { return l.cur != nil && l.cur.path < 0 }

// Remote is the address of the session that carries data now; ok is false
// while there is none.
func (e *Exporter) Remote() (addr netip.AddrPort, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.session == nil {
		return netip.AddrPort{}, false
	}
	return e.session.Peer().Remote, true
}

// RotationCauses counts the sessions that were replaced, by what for.
type RotationCauses struct {
	Period      uint64 `json:"period"`
	Volume      uint64 `json:"volume"`
	Demand      uint64 `json:"demand"`
	Certificate uint64 `json:"certificate"`
	Path        uint64 `json:"path"`
	Suspicion   uint64 `json:"suspicion"`
}

func (r *RotationCauses) count(c rotation.Cause) {
	switch c {
	case rotation.Period:
		r.Period++
	case rotation.Volume:
		r.Volume++
	case rotation.Demand:
		r.Demand++
	case rotation.Certificate:
		r.Certificate++
	case rotation.Path:
		r.Path++
	case rotation.Suspicion:
		r.Suspicion++
	case rotation.None, rotation.Lost: // there was none to replace
	}
}
