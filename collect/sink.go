package collect

import (
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/record"
)

// A Sink is one output. Calls are serial.
type Sink interface {
	// Write takes a batch, whole or, with an error, not at all. It may keep
	// it until Flush, but not in the memory it came in. What the sink cannot
	// express it leaves out and counts: an error says that the sink, not the
	// record, is at fault. After an error it is given no batch for a while.
	Write(b *record.Batch) error
	// Flush is the durability barrier: when it returns nil, all that Write
	// took has been handed to the system or acknowledged by the broker. What
	// could not be written stays for the next Flush.
	Flush() error
	Close() error
}

// A ControlSink also takes the options data that describes the export itself,
// as an archive of all that came in has to.
type ControlSink interface {
	WriteControl(b *record.Batch) error
}

// SinkStats is what became of the records at one sink.
type SinkStats struct {
	Name     string `json:"name"`
	Accepted uint64 `json:"accepted"` // by Write
	Written  uint64 `json:"written"`  // of those, by a Flush since
	Dropped  uint64 `json:"dropped"`  // while it failed
	Errors   uint64 `json:"errors"`   // calls that failed
	Error    string `json:"error,omitempty"`
	Stalled  bool   `json:"stalled"` // a call does not return
}

const (
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// An output is a sink with its lock, its failures and its account. All sessions
// write to it in turn.
type output struct {
	name    string
	now     func() time.Time
	sink    Sink
	control ControlSink

	mu      sync.Mutex
	stats   SinkStats
	dirty   bool  // written to since the last flush
	failed  error // nil: it works
	retry   time.Duration
	retryAt time.Time

	snap  atomic.Pointer[SinkStats]
	calls atomic.Uint64 // ends of calls, to see one that does not end
	seen  uint64        // of calls, by the keeper
	stuck atomic.Int32  // how often the keeper saw no end

	// Of the keeper: what is in the log.
	toldStall   bool
	toldError   string
	toldDropped uint64
}

// stallAfter is how many periods of the keeper without the end of a call make
// a sink stalled.
const stallAfter = 2

func newOutput(name string, s Sink, now func() time.Time) *output {
	o := &output{name: name, sink: s, now: now, stats: SinkStats{Name: name}}
	o.control, _ = s.(ControlSink)
	return o
}

// write hands b over and reports whether the sink took it.
func (o *output) write(b *record.Batch, control bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil && o.now().Before(o.retryAt) {
		if !control {
			o.stats.Dropped += uint64(b.Records)
		}
		return false
	}
	var err error
	if control {
		err = o.control.WriteControl(b)
	} else {
		err = o.sink.Write(b)
	}
	o.calls.Add(1)
	if err != nil {
		o.fail(err)
		if !control {
			o.stats.Dropped += uint64(b.Records)
		}
		return false
	}
	o.dirty = true
	if !control {
		o.stats.Accepted += uint64(b.Records)
	}
	return true
}

// flush reports whether all that was accepted is written.
func (o *output) flush() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil && o.now().Before(o.retryAt) {
		return false
	}
	if !o.dirty && o.failed == nil {
		return true
	}
	err := o.sink.Flush()
	o.calls.Add(1)
	if err != nil {
		o.fail(err)
		return false
	}
	o.dirty, o.failed, o.retry = false, nil, 0
	o.stats.Written = o.stats.Accepted
	return true
}

func (o *output) fail(err error) {
	o.stats.Errors++
	o.failed = err
	o.retry = min(max(2*o.retry, retryMin), retryMax)
	o.retryAt = o.now().Add(o.retry)
}

func (o *output) lastError() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.sink.Close()
	if err == nil {
		o.stats.Written = o.stats.Accepted
	}
	return err
}

// watch is called by the keeper once a period.
func (o *output) watch() {
	n := o.calls.Load()
	switch {
	case o.mu.TryLock():
		o.mu.Unlock()
		o.stuck.Store(0)
	case n == o.seen:
		o.stuck.Add(1)
	default:
		o.stuck.Store(0)
	}
	o.seen = n
}

// snapshot is the account; of a sink whose call does not return the last known.
func (o *output) snapshot(patience time.Duration) SinkStats {
	if !lockWithin(&o.mu, patience) {
		st := SinkStats{Name: o.name, Stalled: o.stuck.Load() >= stallAfter}
		if old := o.snap.Load(); old != nil {
			st = *old
			st.Stalled = o.stuck.Load() >= stallAfter
		}
		return st
	}
	defer o.mu.Unlock()
	st := o.stats
	defer func() { o.snap.Store(&st) }()
	if o.failed != nil {
		st.Error = o.failed.Error()
	}
	return st
}

// lockWithin locks mu unless that takes longer than patience: whoever shows
// counters does not wait for a sink that hangs.
func lockWithin(mu *sync.Mutex, patience time.Duration) bool {
	for wait := 10 * time.Microsecond; ; wait *= 2 {
		if mu.TryLock() {
			return true
		}
		if patience <= 0 {
			return false
		}
		time.Sleep(wait)
		patience -= wait
	}
}
