package collect

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/record"
)

const (
	// patience is how long a session waits for a sink that has no room: there
	// are others in its socket. On a reliable transport it waits on: the peer
	// keeps meanwhile what is not read.
	patience = 500 * time.Millisecond
	// quickCall is what a sink may take for a call before what comes is stored
	// beyond the processor's cache.
	quickCall = 5 * time.Millisecond
	// lookEvery is how often it is looked for calls that are not quick. A timer for
	// each would cost more than most calls: it wakes the runtime's poller.
	lookEvery = 20 * time.Millisecond
	// hurried is the time to fill a tray in which sockets may overflow: some
	// 100 MB/s.
	hurried = 2 * time.Millisecond
	// stallAfter is how many periods of the keeper without the end of a call
	// make a sink stalled.
	stallAfter = 2
)

// An output brings batches to a sink: sessions fill one tray while the sink's
// own goroutine works on the other.
type output struct {
	name string
	caller
	alone bool // Offline: there is no goroutine

	mu   sync.Mutex
	work sync.Cond // of run: due, or asks
	room sync.Cond // of sessions: fill was taken away
	fill *tray
	due  bool
	asks []ask
	over bool // the sink is closed
	busy bool // the sink has something to do
	// Sessions that rest until it has not, since; late: that takes long. The timer
	// goes on while there are any.
	resting int
	since   time.Time
	rested  bool // since the timer's last look
	looking bool
	late    bool
	timer   *time.Timer
	handed  time.Time // when the last tray was
	slow    uint64    // of calls: the one that is not quick
	hung    uint64    // and the one that made a session lose patience
	// refused are records for which there was no room; told is the account of
	// the calls.
	refused uint64
	told    SinkStats

	// calls counts beginnings and ends: it is odd during a call, and the same
	// as before if that call has not come back.
	calls atomic.Uint64
	seen  uint64       // of calls, by the keeper
	stuck atomic.Int32 // how often the keeper saw no end

	// Of the keeper: what is in the log.
	toldStall   bool
	toldError   string
	toldDropped uint64
}

// An ask is for all that is in the tray to be flushed.
type ask struct {
	close bool // and the sink closed
	done  chan<- error
}

func newOutput(name string, s Sink, now func() time.Time, alone bool) *output {
	o := &output{name: name, caller: caller{now: now, sink: s}, alone: alone, fill: new(tray)}
	o.control, _ = s.(ControlSink)
	o.stats.Name = name
	o.told = o.stats
	o.work.L, o.room.L = &o.mu, &o.mu
	o.timer = time.AfterFunc(time.Hour, o.look)
	o.timer.Stop()
	return o
}

// write copies b for the sink and reports whether there was room. What the
// sink does not take later is told to r then.
func (o *output) write(r *receiver, b *record.Batch, control bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.alone && !o.over {
		o.caller.write(r, b, control)
		return true
	}
	if o.over || !o.fill.takes(len(b.Body), trayOctets) && !o.await(len(b.Body), r.props.Reliable) {
		if !control {
			o.refused += uint64(b.Records)
		}
		return false
	}
	o.fill.add(r, b, control)
	if !o.due && !o.fill.takes(0, handOver) {
		o.handOver()
	}
	return true
}

// handOver has the sink take the tray, and waits for it to finish as long as a
// sink that works takes: its goroutine then runs on this processor, which has
// the tray in its cache. In a hurry both go on side by side.
func (o *output) handOver() {
	o.due = true
	o.work.Signal()
	now := time.Now()
	hurry := now.Sub(o.handed) < hurried
	o.handed = now
	if o.busy || hurry {
		return
	}
	o.busy = true
	o.rest(now)
	o.handed = time.Now()
}

// rest waits for the sink to finish what it does.
func (o *output) rest(now time.Time) {
	if o.resting == 0 {
		o.since, o.late = now, false
	}
	if !o.looking {
		o.looking = true
		o.timer.Reset(lookEvery)
	}
	o.resting++
	o.rested = true
	for o.busy && !o.late {
		o.room.Wait()
	}
	o.resting--
}

// look lets sessions that have rested for too long go on.
func (o *output) look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.resting > 0 && time.Since(o.since) >= quickCall {
		o.late = true
		o.room.Broadcast()
	}
	if o.looking = o.rested; o.looking {
		o.rested = o.resting > 0
		o.timer.Reset(lookEvery)
	}
}

// await waits until there is room for n octets: for as long as the sink goes
// on, and if one call takes long, until the limit, and then for as long as the
// session can wait.
func (o *output) await(n int, patient bool) bool {
	calls, since := o.calls.Load(), time.Now()
	for !o.fill.takes(n, trayOctets) {
		waited := time.Since(since)
		switch now := o.calls.Load(); {
		case now != calls || now%2 == 0:
			calls, since = now, time.Now()
		case (waited >= quickCall || now == o.slow) && o.fill.takes(n, trayLimit):
			o.slow = now
			return true
		case !patient && (waited >= patience || now == o.hung):
			o.hung = now
			return false
		}
		wait := patience
		if o.fill.takes(n, trayLimit) {
			wait = quickCall
		}
		o.due = true
		o.work.Signal()
		t := time.AfterFunc(wait, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.room.Broadcast()
		})
		o.room.Wait()
		t.Stop()
		if o.over {
			return false
		}
	}
	return true
}

// run does the sink's calls, until it has closed it.
func (o *output) run() {
	taken := new(tray)
	for {
		o.mu.Lock()
		for !o.due && len(o.asks) == 0 {
			if o.busy {
				o.busy = false
				o.room.Broadcast()
			}
			o.work.Wait()
		}
		o.busy = true
		asks := o.asks
		o.fill, taken, o.due, o.asks = taken, o.fill, false, nil
		o.room.Broadcast()
		o.mu.Unlock()

		taken.each(o.call)
		taken.reset()
		if o.answer(asks) {
			return
		}
	}
}

func (o *output) call(r *receiver, b *record.Batch, control bool) {
	o.calls.Add(1)
	o.caller.write(r, b, control)
	o.calls.Add(1)
}

// answer does what was asked for, and reports whether the sink is closed.
func (o *output) answer(asks []ask) (closed bool) {
	var err error
	o.calls.Add(1)
	switch {
	case slices.ContainsFunc(asks, func(a ask) bool { return a.close }):
		err, closed = o.close(), true
	case len(asks) > 0:
		err = o.flush()
	}
	o.calls.Add(1)
	o.mu.Lock()
	o.told = o.account()
	if closed { // whoever comes now comes too late
		o.over = true
		asks, o.asks = append(asks, o.asks...), nil
		o.room.Broadcast()
	}
	o.mu.Unlock()
	for _, a := range asks {
		a.done <- err
	}
	return closed
}

// ask has all that was written so far flushed, or the sink closed; what it
// returns tells when that is done.
func (o *output) ask(closing bool) <-chan error {
	done := make(chan error, 1)
	a := ask{closing, done}
	o.mu.Lock()
	over := o.over
	if !over && !o.alone {
		o.asks = append(o.asks, a)
		o.work.Signal()
	}
	o.mu.Unlock()
	switch {
	case over:
		done <- errEnding
	case o.alone:
		o.answer([]ask{a})
	}
	return done
}

// watch is called by the keeper once a period.
func (o *output) watch() {
	n := o.calls.Load()
	if n%2 == 1 && n == o.seen {
		o.stuck.Add(1)
	} else {
		o.stuck.Store(0)
	}
	o.seen = n
}

// snapshot is the account as of the last time that the sink had nothing to do.
func (o *output) snapshot() SinkStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := o.told
	st.Dropped += o.refused
	st.Stalled = o.stuck.Load() >= stallAfter
	return st
}
