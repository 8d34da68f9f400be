package ccid2

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// window is cwnd and what moves it, in packets.
type window struct {
	cwnd, ssthresh int
	initial        int // the window of a new connection
	limit          int // by the sequence window and maxWindow

	acked    int      // data packets acknowledged and not yet turned into growth
	recover  wire.Seq // the last packet sent when a congestion event was seen
	recovers bool     // recover is set
	hold     time.Time

	full    wire.Seq // the last packet that filled the window
	wasFull bool     // full is set

	// RFC 2861: when data was last sent, since when the window was not full,
	// and the most that was outstanding since then.
	lastSent, notFull time.Time
	used              int
}

func (w *window) now() int { return min(w.cwnd, w.limit) }

func (w *window) slowStart() bool { return w.cwnd < w.ssthresh }

// newEvent reports whether the loss or mark of packet s is a congestion event
// of its own: packets that were sent before an event was detected belong to it
// (RFC 4341, Section 5).
func (w *window) newEvent(s wire.Seq) bool { return !w.recovers || w.recover.Less(s) }

// halve is the response to a congestion event; last is the last packet sent.
func (w *window) halve(last wire.Seq) {
	// Window, then threshold, rounded down, not under 1 and 2 (RFC 4341, Section 5).
	w.cwnd = max(w.cwnd/2, 1)
	w.ssthresh = max(w.cwnd, minThreshold)
	w.recover, w.recovers = last, true
	w.acked = 0
}

// collapse is the response to a timeout.
func (w *window) collapse(last wire.Seq) {
	// Threshold, then window (RFC 4341, Section 5).
	w.ssthresh = max(w.cwnd/2, minThreshold)
	w.cwnd = 1
	w.recover, w.recovers = last, true
	w.acked = 0
}

// counts reports whether the acknowledgement of packet s widens the window:
// not while a loss is being answered, nor for what was sent after the window
// was last full: an application that does not fill it does not widen it (RFC
// 2861, Section 3.2).
func (w *window) counts(s wire.Seq) bool {
	return w.newEvent(s) && w.wasFull && !w.full.Less(s)
}

// grow takes that n data packets that count were acknowledged, not marked.
func (w *window) grow(n, ackRatio int) {
	w.acked += n
	if w.slowStart() {
		// One packet for two acknowledged, at most Ack Ratio/2 for one
		// acknowledgement (RFC 4341, Section 5); rounded up, or a ratio of 1
		// would never leave the first window.
		add, most := w.acked/2, (ackRatio+1)/2
		if w.acked -= 2 * add; add > most {
			add, w.acked = most, 0
		}
		w.cwnd = min(w.cwnd+add, maxWindow)
		return
	}
	// One packet for a window acknowledged without loss or mark (ibid.).
	if w.acked >= w.cwnd {
		w.acked -= w.cwnd
		w.cwnd = min(w.cwnd+1, maxWindow)
	}
}

// leaveSlowStart ends the doubling (RFC 4341, Section 5.2, MUST).
func (w *window) leaveSlowStart() {
	w.ssthresh = max(min(w.ssthresh, w.cwnd), minThreshold)
}

// idle halves the window for each timeout in which nothing was sent, down to
// that of a new connection (RFC 2861, Section 3.2; RFC 4341, Section 5.1).
func (w *window) idle(now time.Time, rto time.Duration) {
	if w.lastSent.IsZero() || now.Sub(w.lastSent) < rto {
		return
	}
	w.ssthresh = max(w.ssthresh, 3*w.cwnd/4)
	for quiet := now.Sub(w.lastSent); quiet >= rto && w.cwnd > w.initial; quiet -= rto {
		w.cwnd = max(w.cwnd/2, w.initial)
	}
	w.lastSent, w.notFull, w.used, w.acked = now, now, 0, 0
}

// sent keeps account of how much of the window is used. An application that
// did not fill it for a timeout loses half of what it did not use (RFC 2861,
// Section 3.2).
func (w *window) sent(now time.Time, s wire.Seq, pipe int, more bool, rto time.Duration) {
	w.lastSent = now
	if pipe >= w.now() {
		w.full, w.wasFull = s, true
		w.notFull, w.used = now, 0
		return
	}
	if w.notFull.IsZero() {
		w.notFull = now
	}
	if more {
		return
	}
	w.used = max(w.used, pipe)
	if now.Sub(w.notFull) < rto {
		return
	}
	if used := max(w.used, w.initial); used < w.cwnd {
		w.ssthresh = max(w.ssthresh, 3*w.cwnd/4)
		w.cwnd = (w.cwnd + used) / 2
	}
	w.notFull, w.used = now, 0
}
