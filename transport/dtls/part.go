package dtls

import (
	"context"
	"time"

	"ipfixsuite/transport"
)

const (
	// drainPause is how long the socket must be silent to be called so;
	// drainMost bounds the reading of what had arrived when the end came.
	drainPause = 10 * time.Millisecond
	drainMost  = 500 * time.Millisecond
	// askMost is how long a peer has to ask for the confirmation of what it
	// sent: ours does once a second while nothing forces it to.
	askMost = 1500 * time.Millisecond
	// partingMost is how long peers have to send their close_notify after
	// ours, which is repeated partingTries times: alerts are not retransmitted
	// (RFC 6347, Section 4.2.7).
	partingMost  = 500 * time.Millisecond
	partingTries = 4
)

// part ends the sessions in order. What has arrived is taken; then each peer is
// told right behind the answer to its next request, so that hardly anything
// of what it sent is unconfirmed, and would be sent again to who follows. What
// peers sent before they knew is taken as well: their close_notify comes
// behind it.
func (l *listener) part(ctx context.Context, batch []transport.Datagram) {
	l.mu.Lock()
	l.refuse()
	l.mu.Unlock()
	l.drain(ctx, batch, drainMost, nil)
	l.mu.Lock()
	for _, s := range l.sessions() {
		l.staying.Add(1)
		s.staying.Store(true)
		if !s.awaited() {
			l.farewell(s)
		}
	}
	l.mu.Unlock()
	l.drain(ctx, batch, askMost, func() bool { return l.staying.Load() > 0 })
	l.mu.Lock()
	for _, s := range l.sessions() {
		l.farewell(s)
	}
	l.mu.Unlock()
	open := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.count > 0
	}
	for range partingTries {
		if l.drain(ctx, batch, partingMost/partingTries, open); !open() {
			return
		}
		l.mu.Lock()
		for _, s := range l.sessions() {
			s.repeatClose(alertWarning, alertCloseNotify)
		}
		l.mu.Unlock()
	}
}

// awaited tells whether the peer has asked for a confirmation, or soon will.
// A peer that has never asked will not.
func (s *inbound) awaited() bool {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return len(s.waiting) > 0 || s.answers && s.asked && s.unasked
}

// farewell says goodbye to a session that stays at the end, once. Any
// goroutine may call it.
func (l *listener) farewell(s *inbound) {
	if s.staying.CompareAndSwap(true, false) {
		s.close(alertWarning, alertCloseNotify)
		l.staying.Add(-1)
	}
}

// drain receives, but no longer than most: while something is awaited, or,
// where awaited is nil, until all that had arrived is taken.
func (l *listener) drain(ctx context.Context, batch []transport.Datagram, most time.Duration, awaited func() bool) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for ctx.Err() == nil && (awaited == nil || awaited()) {
		pause, cancel := context.WithTimeout(ctx, drainPause)
		n, err := l.conn.ReadBatch(pause, batch)
		silent := pause.Err() != nil
		cancel()
		if n > 0 {
			l.receive(ctx, batch[:n], time.Now())
		}
		switch {
		case err != nil && !silent:
			return
		case awaited == nil && (err != nil || n < len(batch)):
			return // there was no more
		}
	}
}

// refuse lets no more handshakes begin or end well.
func (l *listener) refuse() {
	l.closing = true
	for _, p := range l.peers {
		if p.pending != nil {
			p.pending.cancel(transport.ErrClosed)
		}
	}
}

// shutdown ends all sessions and handshakes.
func (l *listener) shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse()
	for _, p := range l.sessions() {
		l.end(p, transport.ErrClosed)
	}
}
