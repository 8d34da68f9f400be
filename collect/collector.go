package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/record"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

const (
	// DefaultFlushInterval is how long a record waits in a sink's buffer when
	// nobody asks for it.
	DefaultFlushInterval = time.Second
	// DefaultMaxExporters bounds the identities whose account is kept.
	DefaultMaxExporters = 16384
	// keeperEvery is the period of the keeper.
	keeperEvery = time.Second
	// logsPerSecond bounds the log lines that what peers send can cause, in
	// all, and logsPerExporter those of one exporter.
	logsPerSecond   = 50
	logsPerExporter = 5
)

// Config of a Collector. Its zero value works: it decodes and counts.
type Config struct {
	Sinks    []Sink
	Names    []string     // of the sinks, for the log and Stats
	Registry *ie.Registry // nil: IANA's
	Log      *slog.Logger // nil: none
	// TemplateLifetime on unreliable transports, for exporters that do not
	// repeat their Templates more often; 0: templates.DefaultLifetime,
	// negative: no end.
	TemplateLifetime time.Duration
	HeldAge          time.Duration    // 0: templates.DefaultHeldAge
	SessionLimits    templates.Limits // of each session
	TotalLimits      templates.Limits // of all sessions
	MaxExporters     int              // 0: DefaultMaxExporters
	FlushInterval    time.Duration    // 0: DefaultFlushInterval
	// SaveTemplates: AppendTemplates will be asked for. Without it the
	// Templates of sessions that end are not kept.
	SaveTemplates bool
	// Offline: messages come from files. Time is that of the messages, there
	// are no goroutines, and a barrier flushes at once.
	Offline bool
}

// A Collector is a Collecting Process. It implements transport.Handler.
type Collector struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	budget  *templates.Budget
	outputs []*output
	flusher flusher
	sampler sampler // of log lines about what peers sent
	hints   sampler
	coming  sampler // of sessions that come and go: a flood of them is cheap

	stop chan struct{}
	wg   sync.WaitGroup
	once sync.Once
	err  error

	mu        sync.Mutex
	exporters map[string]*exporter
	open      map[*receiver]struct{}
	past      SessionStats // of exporters that are forgotten
	reported  Reported     // by those
	faults    map[string]uint64
	opened    uint64
	resumed   uint64
	refused   uint64
	forgotten uint64
	kept      int // accounts of ended sessions
	ended     bool
	// dormant are the Templates of plain datagram sessions that are not open:
	// of the process before, or closed at the end of this one.
	dormant map[sessionKey][]templates.SavedDomain

	templateChanges atomic.Uint64
}

var (
	errEnding    = errors.New("the collector is ending")
	errExporters = errors.New("too many exporters")
)

// New returns a Collector. Unless it is Offline, Close ends its goroutines.
func New(cfg Config) *Collector {
	if cfg.Registry == nil {
		cfg.Registry = ie.IANA()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxExporters <= 0 {
		cfg.MaxExporters = DefaultMaxExporters
	}
	if cfg.FlushInterval <= 0 {
		cfg.FlushInterval = DefaultFlushInterval
	}
	c := &Collector{
		cfg: cfg, log: cfg.Log, now: time.Now,
		budget:    templates.NewBudget(cfg.TotalLimits),
		sampler:   sampler{perSecond: logsPerSecond},
		hints:     sampler{perSecond: 1},
		coming:    sampler{perSecond: logsPerSecond},
		stop:      make(chan struct{}),
		exporters: make(map[string]*exporter),
		open:      make(map[*receiver]struct{}),
		faults:    make(map[string]uint64),
	}
	for i, s := range cfg.Sinks {
		name := fmt.Sprint(i)
		if i < len(cfg.Names) {
			name = cfg.Names[i]
		}
		c.outputs = append(c.outputs, newOutput(name, s, c.now, cfg.Offline))
	}
	c.flusher = flusher{outputs: c.outputs, asked: make([]<-chan error, len(c.outputs)), kick: make(chan struct{}, 1)}
	if !cfg.Offline {
		for _, o := range c.outputs {
			go o.run() // ends when Close has the sink closed
		}
		// Both end when Close closes stop.
		c.wg.Go(func() { c.flusher.run(cfg.FlushInterval, c.stop) })
		c.wg.Go(c.keep)
	}
	return c
}

// Open implements transport.Handler.
func (c *Collector) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, errEnding
	}
	e := c.exporters[p.Identity]
	if e == nil {
		if len(c.exporters) >= c.cfg.MaxExporters && !c.forgetExporter() {
			c.refused++
			return nil, fmt.Errorf("%w: %d", errExporters, len(c.exporters))
		}
		e = &exporter{identity: p.Identity, sessions: make(map[*receiver]struct{}), logs: sampler{perSecond: logsPerExporter}}
		c.exporters[p.Identity] = e
	}
	r := newReceiver(c, p, props, e)
	c.wake(r)
	e.sessions[r] = struct{}{}
	e.opened++
	e.lastSeen = c.now()
	c.open[r] = struct{}{}
	c.opened++
	if p.Resumed {
		e.resumed++
		c.resumed++
	}
	if n, ok := c.coming.allow(e.lastSeen); ok {
		args := []any{
			"exporter", p.Identity, "session", p.Session, "remote", p.Remote,
			"scheme", p.Scheme, "resumed", p.Resumed, "overlap", len(e.sessions) - 1,
		}
		c.log.Info("session opened", unlogged(args, n)...)
	}
	return r, nil
}

// forgetExporter drops the account of the exporter that has been away for
// longest; its sums stay.
func (c *Collector) forgetExporter() bool {
	var oldest *exporter
	for _, e := range c.exporters {
		if len(e.sessions) == 0 && (oldest == nil || e.lastSeen.Before(oldest.lastSeen)) {
			oldest = e
		}
	}
	if oldest == nil {
		return false
	}
	c.past.add(&oldest.past)
	c.reported.add(oldest.reported())
	c.forgotten++
	c.kept -= len(oldest.ended)
	delete(c.exporters, oldest.identity)
	return true
}

// end takes a session out, keeping its sums. It waits for a message of the
// session that is under way; nobody may hold c.mu in the meantime.
func (c *Collector) end(r *receiver, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.closed.Swap(true) {
		return
	}
	c.rest(r, reason)
	r.store.Close(r.onExpiry)
	for _, d := range r.domains {
		d.settle()
	}
	r.now = c.now()
	r.tellLoss()
	c.remember(r, reason)
	st := r.stats()
	e := r.exporter
	c.tellReported(e)
	e.past.add(&st)
	e.lastSeen = c.now()
	delete(e.sessions, r)
	delete(c.open, r)
	for k, n := range r.faults {
		c.addFault(k, n)
	}
	n, ok := c.coming.allow(e.lastSeen)
	if !ok {
		return
	}
	args := []any{
		"exporter", r.peer.Identity, "session", r.peer.Session, "records", st.Records,
		"lost", st.Sequence.Lost, "undecodable", st.Sequence.Unreadable,
	}
	args = unlogged(args, n)
	if reason != nil && !errors.Is(reason, transport.ErrClosed) {
		args = append(args, "reason", reason)
	}
	c.log.Info("session closed", args...)
}

func (c *Collector) addFault(k string, n uint64) {
	if _, ok := c.faults[k]; ok || len(c.faults) < maxFaults {
		c.faults[k] += n
	}
}

// write gives a batch to every sink that takes its kind.
func (c *Collector) write(r *receiver, b *record.Batch, control bool) {
	for _, o := range c.outputs {
		if control && o.control == nil {
			continue
		}
		if !o.write(r, b, control) {
			r.broken.Store(true)
		}
	}
}

func (c *Collector) barrier(b barrier) {
	c.flusher.ask(b)
	if c.cfg.Offline {
		c.flusher.flush()
	}
}

// Flush has every sink write what it holds.
func (c *Collector) Flush() error {
	return c.ask(false)
}

// ask has all sinks flushed, or closed, side by side.
func (c *Collector) ask(closing bool) error {
	done := make([]<-chan error, len(c.outputs))
	for i, o := range c.outputs {
		done[i] = o.ask(closing)
	}
	var errs []error
	for i, o := range c.outputs {
		if err := <-done[i]; err != nil {
			errs = append(errs, fmt.Errorf("sink %s: %w", o.name, err))
		}
	}
	return errors.Join(errs...)
}

// Close ends the Collector: what the sinks hold is written, and they are
// closed. The listeners have to have ended before; sessions still open are
// closed. It waits no longer than ctx for a sink that hangs.
func (c *Collector) Close(ctx context.Context) error {
	c.once.Do(func() {
		c.mu.Lock()
		c.ended = true
		left := make([]*receiver, 0, len(c.open))
		for r := range c.open {
			left = append(left, r)
		}
		c.mu.Unlock()
		done := make(chan error, 1)
		// Ends with the sinks' last calls, perhaps after Close.
		go func() {
			for _, r := range left {
				c.end(r, errEnding)
			}
			close(c.stop)
			c.wg.Wait()
			done <- errors.Join(c.Flush(), c.ask(true))
		}()
		select {
		case c.err = <-done:
		case <-ctx.Done():
			c.err = fmt.Errorf("sinks do not end: %w", ctx.Err())
		}
	})
	return c.err
}

// keep looks after sessions that receive nothing, sinks that hang and losses
// that are to be told, until Close.
func (c *Collector) keep() {
	tick := time.NewTicker(keeperEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case now := <-tick.C:
			c.tend(now)
		}
	}
}

func (c *Collector) tend(now time.Time) {
	for _, o := range c.outputs {
		o.watch()
		o.tell(c.log)
	}
	for _, r := range c.receivers() {
		if lockWithin(&r.mu, 0) {
			if now.Sub(r.advanced) >= advanceEvery {
				r.advance(now)
			}
			r.unpark()
			r.now = now
			r.tellLoss()
			c.tellReported(r.exporter)
			if snap := r.snap.Load(); snap == nil || snap.Messages != r.n.Messages {
				now := r.snapshot()
				r.snap.Store(&now)
			}
			r.mu.Unlock()
		}
	}
}

func (c *Collector) receivers() []*receiver {
	c.mu.Lock()
	defer c.mu.Unlock()
	rs := make([]*receiver, 0, len(c.open))
	for r := range c.open {
		rs = append(rs, r)
	}
	return rs
}
