package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ipfixsuite/export"
)

// inheritTime bounds the end of an Exporter that was only made for its spool.
const inheritTime = 10 * time.Second

// leavers are the members that were removed and have not ended yet.
type leavers struct {
	wg     sync.WaitGroup // of their goroutines
	stored context.Context
	stop   context.CancelFunc // ends the handing over of spools
	hard   context.Context    // and of the rest
	kill   context.CancelFunc

	// Guarded by Fanout.mu.
	open []*member
	past export.Stats // of those that have
}

func (l *leavers) start() {
	l.stored, l.stop = context.WithCancel(context.Background())
	l.hard, l.kill = context.WithCancel(context.Background())
}

// end waits for them, no longer than ctx.
func (l *leavers) end(ctx context.Context) {
	l.stop()
	if !l.wait(ctx) {
		l.kill()
		l.wg.Wait()
	}
}

// wait reports whether all of them have ended before ctx did.
func (l *leavers) wait(ctx context.Context) bool {
	done := make(chan struct{})
	go func() { // ends with them
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// Change makes list the collectors. Those of a name that is known stay as they
// are, whatever their Exporter here. New ones, whose exporters must not have
// been used, take over the Templates and options records and then get what is
// written from then on. Those that are missing leave, which takes no longer
// than within: in mode All they send what they have, in mode Hash what they
// have not sent, and what is not confirmed, goes to the others. Flows stay
// where they are unless their collector leaves, or a new one is theirs.
func (f *Fanout) Change(list []Collector, within time.Duration) error {
	if err := check(list); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.closed {
		return export.ErrClosed
	}
	now := f.table.Load()
	next := &table{handles: make(map[*export.Template]*handle, len(now.handles))}
	from := make([]int, len(list)) // its place before; -1: it is new
	ours := make([]map[*export.Template]*export.Template, len(list))
	for i, c := range list {
		from[i] = slices.IndexFunc(now.members, func(m *member) bool { return m.name == c.Name })
		if from[i] >= 0 {
			next.members = append(next.members, now.members[from[i]])
			continue
		}
		if c.Exporter == nil {
			return fmt.Errorf("%w: %s", errNoMaker, c.Name)
		}
		var err error
		if ours[i], err = c.Exporter.Adopt(now.members[0].e); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		next.members = append(next.members, f.member(c))
	}
	for t, h := range now.handles {
		moved := *h
		moved.at = make([]*export.Template, len(list))
		for i := range list {
			if from[i] >= 0 {
				moved.at[i] = h.at[from[i]]
			} else {
				moved.at[i] = ours[i][h.at[0]]
			}
		}
		next.handles[t] = &moved
	}
	for i, m := range next.members {
		if from[i] < 0 {
			f.start(m)
			f.cfg.Log.Info("collector added", "collector", m.name)
		}
	}
	f.table.Store(next)
	for _, m := range now.members {
		if !slices.Contains(next.members, m) {
			f.remove(m, within)
		}
	}
	return nil
}

// Settle waits until collectors that were removed have left, and what was
// inherited has been handed over, no longer than ctx.
func (f *Fanout) Settle(ctx context.Context) { f.leaver.wait(ctx) }

// Inherit hands what the spool of an Exporter holds, which must not have been
// used, to the collectors, each record to one of them by its flow: that of a
// collector that is no longer there. It is for mode Hash.
func (f *Fanout) Inherit(c Collector) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.closed {
		return export.ErrClosed
	}
	m := f.member(c)
	f.start(m)
	f.remove(m, inheritTime)
	return nil
}

// remove lets a member that is no longer in the table end. f.mu is held.
func (f *Fanout) remove(m *member, within time.Duration) {
	m.leaving.Store(true)
	l := &f.leaver
	l.open = append(l.open, m)
	f.cfg.Log.Info("collector removed", "collector", m.name)
	l.wg.Go(func() { // ends by within, and when others have taken what is left
		ctx, cancel := context.WithTimeout(l.hard, within)
		defer cancel()
		var err error
		if f.cfg.Mode == Hash {
			err = m.e.Handover(ctx, l.stored, f.taker())
		} else {
			err = m.e.Close(ctx)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		st := m.stats()
		add(&l.past, &st)
		l.past.Session, l.past.QueuedMessages, l.past.QueuedBytes = nil, 0, 0
		l.open = slices.DeleteFunc(l.open, func(o *member) bool { return o == m })
		args := []any{"collector", m.name, "records_handed_over", m.e.Passed(), "records_dropped", st.RecordsDropped}
		if err != nil {
			args = append(args, "error", err)
		}
		f.cfg.Log.Info("collector has left", args...)
	})
}

// taker hands what a member leaves to the others, as if it were written now.
func (f *Fanout) taker() export.Taker {
	here := make(map[*export.Template]*export.Template)
	return func(t *export.Template, rec []byte) error {
		for range 2 {
			at := here[t]
			if at == nil {
				var err error
				if at, err = f.DefineIn(t.Domain(), t.Scope, t.Specs(nil)); err != nil {
					return err
				}
				here[t] = at
			}
			err := f.Write(f.leaver.hard, at, rec)
			if !errors.Is(err, errForeign) {
				if errors.Is(err, export.ErrTooLarge) {
					return nil // counted by those that refused it
				}
				return err
			}
			delete(here, t) // withdrawn meanwhile
		}
		return errForeign
	}
}
