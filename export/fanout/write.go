package fanout

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"time"

	"ipfixsuite/export"
)

// Write hands over one encoded Data Record. It waits for room as long as no
// collector has any, and for those that keep up. It returns nil if one of
// them took the record.
func (f *Fanout) Write(ctx context.Context, t *export.Template, rec []byte) error {
	for {
		now := f.table.Load()
		h := now.handles[t]
		if h == nil {
			return errForeign
		}
		var err error
		if f.cfg.Mode == Hash && !h.options {
			err = f.route(ctx, now, h, rec)
		} else {
			err = f.copy(ctx, now, h, rec)
		}
		if next := f.table.Load(); next != now {
			if errors.Is(err, errChanged) || errors.Is(err, export.ErrClosed) {
				continue // nobody has taken it
			}
			if err == nil && h.options {
				next.late(now, t, rec)
			}
		}
		return err
	}
}

// Offer hands over one encoded Data Record without waiting, and reports
// whether a collector took it. Who has no room counts it as dropped; in mode
// Hash the flow's own collector does, if nobody has.
func (f *Fanout) Offer(t *export.Template, rec []byte) bool {
	now := f.table.Load()
	h := now.handles[t]
	if h == nil {
		return false
	}
	if f.cfg.Mode == Hash && !h.options {
		return f.offerOne(now, h, rec)
	}
	taken := false
	for i, m := range now.members {
		switch at := h.at[i]; {
		case at == nil:
			m.unfit.Add(1)
		case m.leaving.Load(): // it is not counted on
		case m.e.Offer(at, rec):
			taken = true
		}
	}
	if next := f.table.Load(); next != now && h.options {
		next.late(now, t, rec)
	}
	return taken
}

// late hands an options record, which was written while the collectors
// changed, to those that have come.
func (t *table) late(before *table, of *export.Template, rec []byte) {
	h := t.handles[of]
	if h == nil {
		return
	}
	for i, m := range t.members {
		if h.at[i] != nil && !slices.Contains(before.members, m) {
			m.e.Offer(h.at[i], rec)
		}
	}
}

// copy hands a record to every collector.
func (f *Fanout) copy(ctx context.Context, now *table, h *handle, rec []byte) error {
	var full, closed uint64
	taken := 0
	err := export.ErrClosed
	for i, m := range now.members {
		t := h.at[i]
		if t == nil {
			m.unfit.Add(1)
			continue
		}
		none, e := f.try(m, t, rec)
		switch {
		case none:
			full |= 1 << i
		case e == nil:
			taken++
			if m.behind.Load() {
				f.took(m)
			}
		case m.leaving.Load(): // it is not counted on
		case errors.Is(e, export.ErrClosed):
			closed |= 1 << i
		default:
			err = e
		}
	}
	if full != 0 {
		taken, err = f.await(ctx, now, h, rec, full, taken, err)
	}
	if taken == 0 {
		return err
	}
	now.count(h, rec, closed)
	return nil
}

// count counts a record that some took as dropped for the others.
func (t *table) count(h *handle, rec []byte, set uint64) {
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		if m := t.members[i]; !m.leaving.Load() {
			m.e.Offer(h.at[i], rec) // if there is room now, the better
		}
	}
}

// await hands a record to the collectors of full, which had no room. As long
// as nobody has taken it nobody is held; then only who keeps up is waited
// for.
func (f *Fanout) await(ctx context.Context, now *table, h *handle, rec []byte, full uint64, taken int, err error) (int, error) {
	for i := -1; full != 0; {
		i = nextOf(full, i)
		m, t := now.members[i], h.at[i]
		began := time.Now()
		if taken > 0 && !f.waits(now, m, began) {
			now.count(h, rec, 1<<i)
			full &^= 1 << i
			continue
		}
		if taken == 0 && f.table.Load() != now {
			return 0, errChanged
		}
		none, e := attempt(ctx, m, t, rec)
		if taken > 0 {
			f.waited(now, m, time.Since(began))
		}
		switch {
		case none:
			continue
		case e == nil:
			taken++
		case ctx.Err() != nil && errors.Is(e, ctx.Err()):
			if taken > 0 {
				now.count(h, rec, full)
			}
			return 0, e
		default:
			err = e
		}
		full &^= 1 << i
	}
	return taken, err
}

// nextOf is the member of the set after i, in a circle.
func nextOf(set uint64, i int) int {
	if rest := set &^ (1<<(i+1) - 1); i+1 < maxMembers && rest != 0 {
		return bits.TrailingZeros64(rest)
	}
	return bits.TrailingZeros64(set)
}

// route hands a record to the flow's collector, or if that is behind to the
// next one in the flow's order that has room.
func (f *Fanout) route(ctx context.Context, now *table, h *handle, rec []byte) error {
	var order ranking
	n := now.rank(&order, h, rec)
	if n == 0 {
		return export.ErrClosed
	}
	own := now.members[order[0].i]
	t := h.at[order[0].i]
	full, err := f.try(own, t, rec)
	if full {
		full, err = f.hold(ctx, now, own, t, rec)
	} else if err == nil && own.behind.Load() {
		f.took(own)
	}
	if !full && !errors.Is(err, export.ErrClosed) {
		return err
	}
	return f.divert(ctx, now, h, rec, order[:n])
}

// hold waits for the flow's own collector while it keeps up.
func (f *Fanout) hold(ctx context.Context, now *table, m *member, t *export.Template, rec []byte) (full bool, err error) {
	full = true
	for full && !m.behind.Load() {
		began := time.Now()
		if !f.waits(now, m, began) {
			break
		}
		full, err = attempt(ctx, m, t, rec)
		f.waited(now, m, time.Since(began))
	}
	return full, err
}

// divert hands a record to whoever has room first, in the flow's order.
func (f *Fanout) divert(ctx context.Context, now *table, h *handle, rec []byte, order []ranked) error {
	own := now.members[order[0].i]
	var closed uint64
	for wait := false; ; wait = true {
		if wait && f.table.Load() != now {
			return errChanged
		}
		for k, r := range order {
			m, t := now.members[r.i], h.at[r.i]
			if closed&(1<<r.i) != 0 {
				continue
			}
			var full bool
			var err error
			if wait { // nobody had room
				full, err = attempt(ctx, m, t, rec)
			} else {
				full, err = f.try(m, t, rec)
			}
			switch {
			case full:
				continue
			case errors.Is(err, export.ErrClosed):
				closed |= 1 << r.i
				continue
			case err == nil && k > 0:
				own.diverted.Add(1)
			}
			return err
		}
		if bits.OnesCount64(closed) == len(order) {
			return export.ErrClosed
		}
	}
}

// offerOne is route for sources that cannot wait.
func (f *Fanout) offerOne(now *table, h *handle, rec []byte) bool {
	var order ranking
	n := now.rank(&order, h, rec)
	if n == 0 {
		return false
	}
	own := now.members[order[0].i]
	for k, r := range order[:n] {
		full, err := f.try(now.members[r.i], h.at[r.i], rec)
		if full || errors.Is(err, export.ErrClosed) {
			continue
		}
		if err == nil && k > 0 {
			own.diverted.Add(1)
		}
		return err == nil
	}
	return own.e.Offer(h.at[order[0].i], rec)
}
