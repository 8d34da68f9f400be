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
	Hash             // one, by flow; options records go to every one
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
	// Log is told of collectors that fall behind, come and go; nil: nothing
	// is logged.
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
	cfg   Config
	never context.Context // has ended: a Write that does not wait
	table atomic.Pointer[table]

	mu     sync.Mutex // guards what follows, and who replaces the table
	byID   map[templateKey]*export.Template
	life   life
	leaver leavers

	pace struct {
		sync.Mutex // guards the members' pace, too
		sampled    time.Time
	}
}

// table is who gets records; it is replaced as a whole, so that Write takes no
// lock.
type table struct {
	members []*member
	handles map[*export.Template]*handle
}

// handle is a Template at all exporters. Sources know it by that of the first
// exporter that took it, even when that one has left.
type handle struct {
	at      []*export.Template // by member; nil: it refused the Template
	key     flowKey
	options bool
}

// templateKey finds a handle: ids are the same at all exporters.
type templateKey struct {
	domain uint32
	id     uint16
}

var (
	errForeign  = errors.New("template of another exporter")
	errDiffer   = errors.New("exporters do not number templates alike")
	errNobody   = errors.New("no collectors")
	errTooMany  = fmt.Errorf("more than %d collectors", maxMembers)
	errSameName = errors.New("two collectors of one name")
	errNoMaker  = errors.New("a collector that was not there before has no exporter")
	// errChanged says that there are other collectors now, and nobody has
	// taken the record yet.
	errChanged = errors.New("the collectors have changed")
)

// New returns a Fanout to exporters that nobody else defines Templates on.
func New(cfg Config, list []Collector) (*Fanout, error) {
	if err := check(list); err != nil {
		return nil, err
	}
	if cfg.Hold <= 0 {
		cfg.Hold = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fanout{cfg: cfg, byID: make(map[templateKey]*export.Template)}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.never = ctx
	f.life.over = make(chan struct{})
	f.leaver.start()
	t := &table{handles: make(map[*export.Template]*handle)}
	for _, c := range list {
		m := f.member(c)
		t.members = append(t.members, m)
		f.start(m)
	}
	f.table.Store(t)
	return f, nil
}

func check(list []Collector) error {
	switch {
	case len(list) == 0:
		return errNobody
	case len(list) > maxMembers:
		return errTooMany
	}
	for i, c := range list {
		if slices.ContainsFunc(list[:i], func(o Collector) bool { return o.Name == c.Name }) {
			return fmt.Errorf("%w: %s", errSameName, c.Name)
		}
	}
	return nil
}

func (f *Fanout) member(c Collector) *member {
	return &member{name: c.Name, e: c.Exporter, hash: hashBytes(offset64, []byte(c.Name)), credit: f.cfg.Hold}
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
	now := f.table.Load()
	h := &handle{at: make([]*export.Template, len(now.members)), options: scope > 0}
	var first *export.Template
	var errs []error
	for i, m := range now.members {
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
	key := templateKey{first.Domain(), first.ID}
	known := f.byID[key]
	old := now.handles[known]
	if old != nil && slices.Equal(old.at, h.at) {
		return known, nil
	}
	if len(errs) > 0 {
		f.cfg.Log.Warn("template refused: its records are lost for this collector", "template", first.ID, "error", errors.Join(errs...))
	}
	if old != nil {
		first, h.key = known, old.key
	} else {
		h.key = keyOf(scope, specs)
	}
	f.byID[key] = first
	f.put(first, h)
	return first, nil
}

// put makes h known to Write. f.mu is held.
func (f *Fanout) put(t *export.Template, h *handle) {
	now := f.table.Load()
	next := &table{members: now.members, handles: maps.Clone(now.handles)}
	if h == nil {
		delete(next.handles, t)
	} else {
		next.handles[t] = h
	}
	f.table.Store(next)
}

// FlowKeys is Exporter.FlowKeys on all. In mode Hash the fields decide where
// records without addresses go.
func (f *Fanout) FlowKeys(t *export.Template, keys uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.table.Load()
	h := now.handles[t]
	if h == nil {
		return errForeign
	}
	var errs []error
	for i, m := range now.members {
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
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, m := range f.table.Load().members {
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
	now := f.table.Load()
	h := now.handles[t]
	if h == nil {
		return
	}
	delete(f.byID, templateKey{t.Domain(), t.ID})
	f.put(t, nil)
	for i, m := range now.members {
		if h.at[i] != nil {
			m.e.Withdraw(h.at[i])
		}
	}
}
