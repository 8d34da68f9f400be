package fanout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ipfix"
)

// maxMembers bounds the collectors: a set of them is a uint64.
const maxMembers = 64

// A Mode says who gets a record.
type Mode uint8

const (
	All  Mode = iota // every collector
	Hash             // one, by flow
)

// ParseMode reads all or hash.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "all":
		return All, nil
	case "hash":
		return Hash, nil
	}
	return 0, fmt.Errorf("mode %q: want all or hash", s)
}

// Config says how a Fanout works. The zero value works.
type Config struct {
	Mode Mode
	// Hold is how long, taken together, a full collector that sends less
	// than half as fast as the fastest may hold a source that can wait; a
	// twentieth of the time comes back. 0: 1 s. One that is faster than
	// that is waited for.
	Hold time.Duration
	// Log is told of collectors that fall behind; nil: nothing is logged.
	Log *slog.Logger
}

// A Collector is one exporter under the name that its flows are found by: its
// URL, say.
type Collector struct {
	Name     string
	Exporter *export.Exporter
}

// A Fanout hands records to several exporters. Its methods may be called from
// several goroutines.
type Fanout struct {
	cfg     Config
	members []*member
	never   context.Context // has ended: a Write that does not wait
	handles atomic.Pointer[map[*export.Template]*handle]

	mu      sync.Mutex // guards Define and the members' pace
	sampled time.Time
}

// handle is a Template at all exporters.
type handle struct {
	at  []*export.Template // by member; nil: it refused the Template
	key flowKey
}

var (
	errForeign  = errors.New("template of another exporter")
	errDiffer   = errors.New("exporters do not number templates alike")
	errNobody   = errors.New("no collectors")
	errTooMany  = fmt.Errorf("more than %d collectors", maxMembers)
	errSameName = errors.New("two collectors of one name")
)

// New returns a Fanout to exporters that nobody else defines Templates on.
func New(cfg Config, list []Collector) (*Fanout, error) {
	switch {
	case len(list) == 0:
		return nil, errNobody
	case len(list) > maxMembers:
		return nil, errTooMany
	}
	if cfg.Hold <= 0 {
		cfg.Hold = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fanout{cfg: cfg}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.never = ctx
	f.handles.Store(&map[*export.Template]*handle{})
	for _, c := range list {
		for _, m := range f.members {
			if m.name == c.Name {
				return nil, fmt.Errorf("%w: %s", errSameName, c.Name)
			}
		}
		f.members = append(f.members, &member{name: c.Name, e: c.Exporter, hash: hashBytes(offset64, []byte(c.Name)), credit: cfg.Hold})
	}
	return f, nil
}

// Define is Exporter.Define on all; it fails if all refuse.
func (f *Fanout) Define(scope int, specs []ipfix.FieldSpec) (*export.Template, error) {
	return f.define(scope, specs, func(e *export.Exporter) (*export.Template, error) { return e.Define(scope, specs) })
}

// DefineIn is Exporter.DefineIn on all.
func (f *Fanout) DefineIn(domain uint32, scope int, specs []ipfix.FieldSpec) (*export.Template, error) {
	return f.define(scope, specs, func(e *export.Exporter) (*export.Template, error) { return e.DefineIn(domain, scope, specs) })
}

func (f *Fanout) define(scope int, specs []ipfix.FieldSpec, on func(*export.Exporter) (*export.Template, error)) (*export.Template, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := &handle{at: make([]*export.Template, len(f.members))}
	var first *export.Template
	var errs []error
	for i, m := range f.members {
		t, err := on(m.e)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			continue
		}
		if h.at[i] = t; first == nil {
			first = t
		}
		if t.ID != first.ID {
			return nil, fmt.Errorf("%w: %d and %d", errDiffer, first.ID, t.ID)
		}
	}
	if first == nil {
		return nil, errs[0]
	}
	old := f.handle(first)
	if old != nil && slices.Equal(old.at, h.at) {
		return first, nil
	}
	if len(errs) > 0 {
		f.cfg.Log.Warn("template refused: its records are lost for this collector", "template", first.ID, "error", errors.Join(errs...))
	}
	if old != nil {
		h.key = old.key
	} else {
		h.key = keyOf(scope, specs)
	}
	f.put(first, h)
	return first, nil
}

// put makes h known to Write, which takes no lock. f.mu is held.
func (f *Fanout) put(t *export.Template, h *handle) {
	next := maps.Clone(*f.handles.Load())
	next[t] = h
	f.handles.Store(&next)
}

func (f *Fanout) handle(t *export.Template) *handle { return (*f.handles.Load())[t] }

// FlowKeys is Exporter.FlowKeys on all. In mode Hash the fields decide where
// records without addresses go.
func (f *Fanout) FlowKeys(t *export.Template, keys uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.handle(t)
	if h == nil {
		return errForeign
	}
	var errs []error
	for i, m := range f.members {
		if h.at[i] == nil {
			continue
		}
		if err := m.e.FlowKeys(h.at[i], keys); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	changed := *h
	changed.key = h.key.withKeys(keys)
	f.put(t, &changed)
	return errors.Join(errs...)
}

// ReportMetering is Exporter.ReportMetering on all.
func (f *Fanout) ReportMetering(report func() export.MeteringReport) error {
	var errs []error
	for _, m := range f.members {
		if err := m.e.ReportMetering(report); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	return errors.Join(errs...)
}

// Withdraw is Exporter.Withdraw on all.
func (f *Fanout) Withdraw(t *export.Template) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.handle(t)
	if h == nil {
		return
	}
	next := maps.Clone(*f.handles.Load())
	delete(next, t)
	f.handles.Store(&next)
	for i, m := range f.members {
		if h.at[i] != nil {
			m.e.Withdraw(h.at[i])
		}
	}
}

// Write hands over one encoded Data Record. It waits for room as long as no
// collector has any, and for those that keep up. It returns nil if one of
// them took the record.
func (f *Fanout) Write(ctx context.Context, t *export.Template, rec []byte) error {
	h := f.handle(t)
	switch {
	case h == nil:
		return errForeign
	case f.cfg.Mode == Hash:
		return f.route(ctx, h, rec)
	}
	return f.copy(ctx, h, rec)
}

// Offer hands over one encoded Data Record without waiting, and reports
// whether a collector took it. Who has no room counts it as dropped; in mode
// Hash the flow's own collector does, if nobody has.
func (f *Fanout) Offer(t *export.Template, rec []byte) bool {
	h := f.handle(t)
	if h == nil {
		return false
	}
	if f.cfg.Mode == Hash {
		return f.offerOne(h, rec)
	}
	taken := false
	for i, m := range f.members {
		switch at := h.at[i]; {
		case at == nil:
			m.unfit.Add(1)
		case m.e.Offer(at, rec):
			taken = true
		}
	}
	return taken
}
