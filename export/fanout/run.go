package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"ipfixsuite/export"
)

// Run runs all exporters until the last has ended. One that ends with an
// error does not end the others: the error is returned with theirs.
func (f *Fanout) Run(ctx context.Context) error {
	return f.each(func(m *member) error {
		err := m.e.Run(ctx)
		if err != nil {
			f.cfg.Log.Warn("no more records for collector", "collector", m.name, "error", err)
		}
		return err
	})
}

// Flush is Exporter.Flush on all at once.
func (f *Fanout) Flush(ctx context.Context) error {
	return f.each(func(m *member) error { return m.e.Flush(ctx) })
}

// Close is Exporter.Close on all at once.
func (f *Fanout) Close(ctx context.Context) error {
	return f.each(func(m *member) error { return m.e.Close(ctx) })
}

// each does something to all exporters, each in a goroutine that ends with
// it, and joins the errors in the order of the collectors.
func (f *Fanout) each(do func(*member) error) error {
	errs := make([]error, len(f.members))
	var wg sync.WaitGroup
	for i, m := range f.members {
		wg.Go(func() {
			if err := do(m); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
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
	list := make([]CollectorStats, len(f.members))
	for i, m := range f.members {
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

// Stats adds up those of all exporters: in mode All a record counts once for
// each collector. What cannot be added is the greatest, or the first: CPU
// time, the longest gap, the session.
func (f *Fanout) Stats() export.Stats {
	var sum export.Stats
	for i, m := range f.members {
		st := m.stats()
		if i == 0 {
			sum = st
			continue
		}
		add(&sum, &st)
	}
	return sum
}

// Summary adds up those of all exporters, as Stats does.
func (f *Fanout) Summary() export.Summary { return f.Stats().Summary }
