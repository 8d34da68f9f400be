package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"ipfixsuite/export"
)

// life is the running of the members. Fanout.mu guards it.
type life struct {
	ctx    context.Context // nil: not running yet
	wait   []*member       // for Run
	alive  int             // members that run
	over   chan struct{}   // closed: none does, nor will
	closed bool
}

var errRuns = errors.New("fan-out runs already, or did")

// Run runs all exporters until the last has ended. One that ends with an
// error does not end the others: the error is returned with theirs.
func (f *Fanout) Run(ctx context.Context) error {
	f.mu.Lock()
	if f.life.ctx != nil {
		f.mu.Unlock()
		return errRuns
	}
	f.life.ctx = ctx
	for _, m := range f.life.wait {
		f.start(m)
	}
	f.life.wait = nil
	f.mu.Unlock()
	<-f.life.over
	f.leaver.end(f.never)
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, m := range f.table.Load().members {
		if m.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, m.err))
		}
	}
	return errors.Join(errs...)
}

// start runs a member as soon as Run does, in a goroutine that ends with it.
// f.mu is held.
func (f *Fanout) start(m *member) {
	ctx := f.life.ctx
	if ctx == nil {
		f.life.wait = append(f.life.wait, m)
		return
	}
	f.life.alive++
	go func() {
		err := m.e.Run(ctx)
		if err != nil {
			f.cfg.Log.Warn("no more records for collector", "collector", m.name, "error", err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		m.err = err
		if f.life.alive--; f.life.alive == 0 {
			f.life.closed = true
			close(f.life.over)
		}
	}()
}

// Flush is Exporter.Flush on all at once.
func (f *Fanout) Flush(ctx context.Context) error {
	return f.each(func(m *member) error { return m.e.Flush(ctx) })
}

// Close is Exporter.Close on all at once. Before it, collectors that were
// removed hand over what is left of theirs; what is in their spools stays
// there.
func (f *Fanout) Close(ctx context.Context) error {
	f.mu.Lock()
	f.life.closed = true
	f.mu.Unlock()
	f.leaver.end(ctx)
	return f.each(func(m *member) error { return m.e.Close(ctx) })
}

// each does something to all exporters, each in a goroutine that ends with
// it, and joins the errors in the order of the collectors.
func (f *Fanout) each(do func(*member) error) error {
	members := f.table.Load().members
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			if err := do(m); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Each calls do for the exporter of each collector, in order.
func (f *Fanout) Each(do func(name string, e *export.Exporter)) {
	for _, m := range f.table.Load().members {
		do(m.name, m.e)
	}
}

// CollectorStats is what was done for one collector.
type CollectorStats struct {
	Name string
	export.Stats
	Behind bool
	// RecordsDiverted belong to its flows, but went to others (mode Hash).
	RecordsDiverted uint64
}

// Collectors tells of each.
func (f *Fanout) Collectors() []CollectorStats {
	members := f.table.Load().members
	list := make([]CollectorStats, len(members))
	for i, m := range members {
		list[i] = CollectorStats{Name: m.name, Stats: m.stats(), Behind: m.behind.Load(), RecordsDiverted: m.diverted.Load()}
	}
	return list
}

// stats are the exporter's, with the records it has no Template for.
func (m *member) stats() export.Stats {
	st := m.e.Stats()
	st.RecordsExported += m.unfit.Load()
	st.RecordsDropped += m.unfit.Load()
	return st
}

// Stats adds up those of all exporters, of those that have left as well: in
// mode All a record counts once for each collector. What cannot be added is
// the greatest, or the first: CPU time, the longest gap, the session.
func (f *Fanout) Stats() export.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := f.leaver.past
	for _, m := range slices.Concat(f.table.Load().members, f.leaver.open) {
		st := m.stats()
		add(&sum, &st)
	}
	return sum
}

// Summary adds up those of all exporters, as Stats does.
func (f *Fanout) Summary() export.Summary { return f.Stats().Summary }
