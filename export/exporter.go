package export

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/ipfix"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

var (
	// ErrClosed is returned to sources once the Exporter closes.
	ErrClosed = errors.New("exporter closed")
	// ErrTooLarge marks a record or a Template that no message can hold.
	ErrTooLarge = errors.New("larger than a message")
)

// An Exporter is an Exporting Process with one collector. Its methods may be
// called from several goroutines.
type Exporter struct {
	cfg Config

	mu         sync.Mutex // guards what follows, up to the next comment
	domains    []*domain
	byID       map[uint32]int
	packing    []*lane // with an open message
	stalled    bool    // streams of the session stand still
	disordered bool    // what waits for these is not in the order of the queue
	queue      queue
	sealed     uint64 // messages that entered the queue
	released   uint64 // and left it
	flushes    []flush
	armed      bool // the loop minds the age of open messages
	maxMessage int
	n          counters
	session    transport.Session // of the loop's session, for Stats
	stalls     bool              // its collector confirms nothing
	standing   int               // streams of it that stand still
	metering   func() MeteringReport
	started    bool
	closing    bool
	yield      *yielding // set before closing; nil: what is left is sent
	passed     uint64    // records given away

	// Signals between the sources and the loop; capacity 1.
	ready, room chan struct{}
	rotateNow   chan rotation.Cause // capacity 1
	changes     chan change         // capacity 1

	closed   chan struct{} // Close was called
	aborted  chan struct{} // and its context ended
	finished chan struct{} // Run returned
	closeErr error         // what Run returned; read after finished
	abort    func()

	back  backlog
	stats options // the statistics' Templates and scratch space
	loop  loop    // owned by Run
}

type flush struct {
	upTo uint64
	done chan struct{}
}

// New returns an Exporter; nothing is sent before Run.
func New(cfg Config) (*Exporter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	e := &Exporter{
		cfg:        cfg,
		byID:       make(map[uint32]int),
		maxMessage: min(cfg.MaxMessage, unknownPathMessage),
		ready:      make(chan struct{}, 1),
		room:       make(chan struct{}, 1),
		rotateNow:  make(chan rotation.Cause, 1),
		changes:    make(chan change, 1),
		closed:     make(chan struct{}),
		aborted:    make(chan struct{}),
		finished:   make(chan struct{}),
	}
	e.abort = sync.OnceFunc(func() { close(e.aborted) })
	if err := e.defineOptions(); err != nil {
		return nil, err
	}
	if err := e.openSpool(); err != nil {
		return nil, err
	}
	return e, nil
}

// Write packs one encoded Data Record. When the queue is full it waits for
// room until ctx ends: for sources that can wait, such as files. It returns
// ErrTooLarge for a record that no message can hold, which is counted as
// dropped; the next may be written.
func (e *Exporter) Write(ctx context.Context, t *Template, rec []byte) error {
	waited := false
	for {
		e.mu.Lock()
		err := ErrClosed
		if !e.closing {
			err = e.put(t, rec, true)
		}
		if waited && err == nil {
			signal(e.room) // others may wait as well
		}
		e.mu.Unlock()
		if !errors.Is(err, errFull) {
			return err
		}
		select {
		case <-e.room:
			waited = true
		case <-e.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Offer packs one encoded Data Record, or counts it as dropped if the queue
// is full: for sources that cannot wait, such as live traffic. It reports
// whether the record was taken.
func (e *Exporter) Offer(t *Template, rec []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		e.n.handed++
		e.drop(t, rec)
		return false
	}
	err := e.put(t, rec, false)
	if errors.Is(err, errFull) {
		e.n.handed++
		e.drop(t, rec)
	}
	return err == nil
}

// Flush sends what is in open messages without waiting for more, and returns
// when everything written before has been handed to a session.
func (e *Exporter) Flush(ctx context.Context) error {
	e.mu.Lock()
	e.sealAll()
	f := flush{upTo: e.sealed, done: make(chan struct{})}
	if e.released >= f.upTo {
		e.mu.Unlock()
		return nil
	}
	e.flushes = append(e.flushes, f)
	e.wake()
	e.mu.Unlock()
	select {
	case <-f.done:
		return nil
	case <-e.finished:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close takes no more records, sends what is there, the final statistics and
// a probe as barrier where the transport has one, and closes the session. It
// waits for Run to return; when ctx ends it gives up and counts what was not
// sent as dropped. It may be called again.
func (e *Exporter) Close(ctx context.Context) error {
	e.mu.Lock()
	first := !e.closing
	e.closing = true
	if first {
		close(e.closed)
	}
	idle := !e.started && e.n.handed == 0 && e.spoolEmpty()
	e.mu.Unlock()
	if idle {
		return e.closeSpool(false)
	}
	// Run may be a goroutine that has not come to its first line yet.
	select {
	case <-e.finished:
		return e.closeErr
	case <-ctx.Done():
	}
	e.abort()
	e.mu.Lock()
	started := e.started
	e.started = true // Run has missed it
	e.mu.Unlock()
	if !started {
		unsent, _ := e.dropAll()
		if err := e.closeSpool(false); err != nil || unsent == 0 {
			return err
		}
		return fmt.Errorf("%s not sent: the exporter never ran", records(unsent))
	}
	<-e.finished
	return e.closeErr
}

// wake tells the loop that there is something to do.
func (e *Exporter) wake() { signal(e.ready) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// release takes the first message off the queue for good. Exporter.mu is held.
func (e *Exporter) release() { e.queue.put(e.pop()) }

// pop takes the first message off the queue: it was sent, or counted as
// dropped. Exporter.mu is held.
func (e *Exporter) pop() *message {
	m := e.queue.pop()
	if m.withdraw == nil && !m.replay {
		e.released++
		for len(e.flushes) > 0 && e.released >= e.flushes[0].upTo && e.sentUpTo(e.flushes[0].upTo) {
			close(e.flushes[0].done)
			e.flushes = e.flushes[1:]
		}
	}
	signal(e.room)
	return m
}

// sentUpTo reports whether no message up to that number waits behind others for
// its stream. Exporter.mu is held.
func (e *Exporter) sentUpTo(number uint64) bool {
	e.disordered = e.disordered && e.queue.len() > 0
	if e.disordered {
		for i := range e.queue.len() {
			if m := e.queue.at(i); m.number <= number && m.withdraw == nil && !m.replay {
				return false
			}
		}
	}
	return true
}

// dropFirst gives the first message of the queue up.
func (e *Exporter) dropFirst() {
	m := e.queue.at(0)
	switch {
	case m.withdraw != nil:
	case m.pos != spool.Position{}:
		m.each(e.countDropped)
		m.lane.lost += uint32(m.records)
		e.acknowledge(m.pos)
	case m.replay:
		e.n.unconfirmed += uint64(m.records)
	default:
		m.each(e.countDropped)
		m.lane.lost += m.gap + uint32(m.records)
	}
	e.release()
}

// loop is the state of Run's goroutine.
type loop struct {
	cur  *session   // carries the data; nil: there is none
	next *session   // is primed and proven to take over
	old  *session   // was replaced and drains
	gone []*session // lost, not yet closed

	machine    *rotation.Machine
	choice     *rotation.Choice
	building   *building          // nil: none is under way, but for those given up
	dialers    []transport.Dialer // of the collectors, in order of preference
	paths      []path             // to these
	dialed     chan dialResult
	probed     chan probeResult
	closedOnes chan closeResult
	over       chan struct{} // closed: nobody reads these any more
	again      bool          // priming goes on at once
	hintAt     time.Time     // of the next look at UnreachableHints
	busy       time.Duration // spent on other sessions since data was last looked at
	maxGap     time.Duration // the longest of these

	always    <-chan time.Time // closed: an event that is always there
	wg        sync.WaitGroup
	without   time.Time // since when there is no session
	spillFrom time.Time // then what waits goes to the spool
	lingerTo  time.Time // a small batch waits until then for company
	statsAt   time.Time
	pace      bucket
	lastErr   error // why there is no session
	closing   bool
	recovery  recovery

	builder ipfix.Builder // Templates and the Exporter's own records
	buf     []byte
	batch   [batchMessages]*message
	passed  []*message // scratch
	fell    []uint16   // likewise
	out     [batchMessages]transport.Outgoing
}

func (l *loop) start(e *Exporter, now time.Time) {
	// One for each session that can be: nobody waits to report its end.
	l.dialed = make(chan dialResult, maxSessions)
	l.probed = make(chan probeResult, maxSessions)
	l.closedOnes = make(chan closeResult, maxSessions)
	l.over = make(chan struct{})
	always := make(chan time.Time)
	close(always)
	l.always = always
	l.dialers = e.cfg.dialers()
	l.machine = rotation.New(e.cfg.rotation(), rand.Float64)
	l.choice = rotation.NewChoice(rotation.ChoiceConfig{Collectors: len(l.dialers), Return: e.cfg.ReturnAfter})
	l.paths = make([]path, len(l.dialers))
	l.pace = bucket{rate: e.cfg.MaxRate}
	l.without, l.spillFrom = now, now.Add(spillAfter)
	l.buf = make([]byte, 0, e.cfg.MaxMessage)
}
