package fanout

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"ipfixsuite/export"
)

const (
	// slice is how long one collector is waited for before the others are
	// looked at again.
	slice = 2 * time.Millisecond
	// sampleEvery is the time over which rates are measured.
	sampleEvery = 200 * time.Millisecond
	// keptRate is what is left after that time of the greatest rate seen: a
	// fast collector that others slow down forgets slowly how fast it was.
	keptRate = 0.995
	// share of the greatest rate makes a collector one that keeps up.
	share = 0.5
	// refill is the part of the time that a collector gets back of what it
	// may hold the others.
	refill = 20
)

// member is one collector.
type member struct {
	name string
	e    *export.Exporter
	hash uint64
	// behind: it is not waited for, until it has shown for a while that it
	// takes records.
	behind   atomic.Bool
	err      error         // of its Run; guarded by Fanout.mu
	leaving  atomic.Bool   // it was removed: what it does not take is not lost
	diverted atomic.Uint64 // records of its flows that others got
	unfit    atomic.Uint64 // records of Templates that it refused

	// Guarded by Fanout.pace.
	credit time.Duration // what is left of Config.Hold
	at     time.Time     // when credit was last reckoned
	sent   uint64        // records, at the last sample
	rate   float64       // records a second since the one before
	peak   float64       // the greatest of them, forgetting
}

// try hands a record over if there is room. full: there is none, and nothing
// was counted.
func (f *Fanout) try(m *member, t *export.Template, rec []byte) (full bool, err error) {
	err = m.e.Write(f.never, t, rec)
	return errors.Is(err, context.Canceled), err
}

// attempt waits a little for room.
func attempt(ctx context.Context, m *member, t *export.Template, rec []byte) (full bool, err error) {
	wait, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	err = m.e.Write(wait, t, rec)
	full = errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if full && ctx.Err() != nil {
		return false, ctx.Err()
	}
	return full, err
}

// waits reports whether m may be waited for at now.
func (f *Fanout) waits(t *table, m *member, now time.Time) bool {
	if m.behind.Load() {
		return false
	}
	f.pace.Lock()
	defer f.pace.Unlock()
	f.sample(t, now)
	m.earn(now, f.cfg.Hold)
	if t.keepsUp(m) || m.credit > 0 {
		return true
	}
	if !m.behind.Swap(true) {
		f.cfg.Log.Warn("collector falls behind: it is not waited for", "collector", m.name)
	}
	return false
}

// waited charges what the others were held for m's sake.
func (f *Fanout) waited(t *table, m *member, d time.Duration) {
	f.pace.Lock()
	defer f.pace.Unlock()
	if !t.keepsUp(m) {
		m.credit -= d
	}
}

// took is told when a collector that was behind takes a record.
func (f *Fanout) took(m *member) {
	now := time.Now()
	f.pace.Lock()
	defer f.pace.Unlock()
	m.earn(now, f.cfg.Hold)
	if m.credit >= f.cfg.Hold/2 && m.behind.Swap(false) {
		f.cfg.Log.Info("collector takes records again", "collector", m.name)
	}
}

func (m *member) earn(now time.Time, most time.Duration) {
	if !m.at.IsZero() {
		m.credit = min(most, m.credit+now.Sub(m.at)/refill)
	}
	m.at = now
}

// keepsUp reports whether m sends about as fast as the fastest could.
func (t *table) keepsUp(m *member) bool {
	var most float64
	for _, o := range t.members {
		most = max(most, o.peak)
	}
	return m.rate > 0 && m.rate >= share*most
}

// sample measures how fast records leave.
func (f *Fanout) sample(t *table, now time.Time) {
	if f.pace.sampled.IsZero() {
		f.pace.sampled = now
		return
	}
	d := now.Sub(f.pace.sampled)
	if d < sampleEvery {
		return
	}
	f.pace.sampled = now
	for _, m := range t.members {
		n := m.e.Summary().RecordsSent
		m.rate = float64(n-min(n, m.sent)) / d.Seconds()
		m.sent = n
		m.peak = max(m.rate, m.peak*keptRate)
	}
}
