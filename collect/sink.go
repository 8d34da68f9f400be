package collect

import (
	"time"

	"ipfixsuite/record"
)

// A Sink is one output. Calls are serial, and on a goroutine of the sink: one
// that hangs holds nobody else up.
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
	Dropped  uint64 `json:"dropped"`  // while it failed, or took nothing
	Errors   uint64 `json:"errors"`   // calls that failed
	Error    string `json:"error,omitempty"`
	Stalled  bool   `json:"stalled"` // a call does not return
}

const (
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// A caller calls a sink, one call at a time, and keeps the account of it.
type caller struct {
	now     func() time.Time
	sink    Sink
	control ControlSink

	stats   SinkStats
	dirty   bool  // written to since the last flush
	failed  error // nil: it works
	retry   time.Duration
	retryAt time.Time
}

// waits reports whether the sink failed and is to be left alone for now.
func (c *caller) waits() bool { return c.failed != nil && c.now().Before(c.retryAt) }

// write hands b over. A sink that does not take it has lost records of the
// session, whose barriers are not answered any more.
func (c *caller) write(r *receiver, b *record.Batch, control bool) {
	err := c.failed
	if !c.waits() {
		if control {
			err = c.control.WriteControl(b)
		} else {
			err = c.sink.Write(b)
		}
		if err != nil {
			c.fail(err)
		}
	}
	switch {
	case err != nil:
		r.broken.Store(true)
		if !control {
			c.stats.Dropped += uint64(b.Records)
		}
	case control:
		c.dirty = true
	default:
		c.dirty = true
		c.stats.Accepted += uint64(b.Records)
	}
}

// flush returns nil if all that was accepted is written.
func (c *caller) flush() error {
	if c.waits() || !c.dirty && c.failed == nil {
		return c.failed
	}
	if err := c.sink.Flush(); err != nil {
		c.fail(err)
		return err
	}
	c.dirty, c.failed, c.retry = false, nil, 0
	c.stats.Written = c.stats.Accepted
	return nil
}

func (c *caller) close() error {
	err := c.sink.Close()
	if err == nil {
		c.stats.Written = c.stats.Accepted
	}
	return err
}

func (c *caller) fail(err error) {
	c.stats.Errors++
	c.failed = err
	c.retry = min(max(2*c.retry, retryMin), retryMax)
	c.retryAt = c.now().Add(c.retry)
}

// account is the account as it stands.
func (c *caller) account() SinkStats {
	st := c.stats
	if c.failed != nil {
		st.Error = c.failed.Error()
	}
	return st
}
