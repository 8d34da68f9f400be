package sctp

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// maxBarriers bounds the heartbeat requests of one session that wait for the
// sinks; RFC 6520 allows a peer one in flight.
const maxBarriers = 4

// inbound is the collector's end of one session. Its goroutine receives, and
// calls the Receiver; another one may end it in order.
type inbound struct {
	carrier
	l        *listener
	prefix   netip.Prefix
	who      transport.Peer
	receiver transport.Receiver
	pump     *pump
	let      *dtls.Established // why the peer was let in; nil: in the clear

	heard atomic.Int64 // ns since 1970: when something came last
	// asked: its peer has sent a request before; unasked: messages came after
	// the last one, which no answer confirms.
	asked, unasked atomic.Bool

	mu      sync.Mutex
	waiting [][]byte // payloads of requests whose barrier is not done
	settled chan struct{}
	why     error // why this side ends it, the first reason

	parting sync.Once
}

// take is the session's part of the receiving goroutine.
func (s *inbound) take(ev *Event) {
	switch ev.Kind {
	case EventMessage:
		s.received(ev.Message)
	case EventPeerShutdown:
		// Its messages are all here: the peer sends none in this state.
	case EventRestart:
		// Another Transport Session, without the Templates of this one, and
		// without the DTLS: the peer has to begin it in the open.
		s.end(errRestart)
	}
}

func (s *inbound) received(m Message) {
	now := time.Now()
	t, content, err := s.open(m)
	if err != nil {
		s.abort(err)
		return
	}
	s.heard.Store(now.UnixNano())
	switch t {
	case record.ApplicationData:
		s.unasked.Store(true)
		s.l.messages.Add(1)
		s.l.bytes.Add(uint64(len(content)))
		s.receiver.Message(transport.Incoming{Data: content, Stream: m.Stream, Received: now, Unordered: m.Unordered})
	case record.Heartbeat:
		s.heartbeat(content)
	case record.Alert:
		switch err := dtls.Ended(content); {
		case err == nil:
		case errors.Is(err, transport.ErrPeerClosed):
			s.peerParted()
			s.part(err)
		default:
			s.end(err)
		}
	default:
		s.abort(errUnexpected)
	}
}

// heartbeat answers a request once everything before it is written.
func (s *inbound) heartbeat(content []byte) {
	m, err := heartbeat.Parse(content)
	if err != nil || m.Type != heartbeat.Request || !s.tls.answers {
		s.l.drops.add(dropHeartbeat)
		return
	}
	s.l.probes.Add(1)
	s.asked.Store(true)
	s.unasked.Store(false)
	payload, ok := s.wait(m.Payload)
	if !ok {
		s.l.drops.add(dropQueueFull)
		return
	}
	s.receiver.Barrier(func() {
		// Any goroutine; possibly within Barrier. Who has the turn here never
		// waits for the network.
		if s.answer(context.Background(), heartbeat.Message{Type: heartbeat.Response, Payload: payload}) == nil {
			s.l.answered.Add(1)
		}
		s.waited(payload)
	})
}

// wait notes a request that waits for its barrier; false: there are too many.
func (s *inbound) wait(payload []byte) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == maxBarriers {
		return nil, false
	}
	kept := append(make([]byte, 0, len(payload)+1), payload...)
	s.waiting = append(s.waiting, kept)
	return kept, true
}

func (s *inbound) waited(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, w := range s.waiting {
		if &w[:1][0] == &payload[:1][0] {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			break
		}
	}
	if s.settled != nil && s.quiet() {
		close(s.settled)
		s.settled = nil
	}
}

// quiet tells that no answer is owed to the peer and none will be asked for,
// as far as one can know: a peer that has never asked will not. The caller
// has mu.
func (s *inbound) quiet() bool {
	return len(s.waiting) == 0 && (!s.asked.Load() || !s.unasked.Load())
}

// whenQuiet returns a channel that is closed when the peer has what it asked
// for.
func (s *inbound) whenQuiet() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	settled := make(chan struct{})
	if s.quiet() {
		close(settled)
	} else {
		s.settled = settled
	}
	return settled
}

// reason notes why this side ends the session; the first one stays.
func (s *inbound) reason(err error) {
	s.mu.Lock()
	if s.why == nil {
		s.why = err
	}
	s.mu.Unlock()
}

// part ends the session in order, beside the receiving goroutine: what the
// peer has yet to send is taken until it ends the association too (RFC 7011,
// Section 10.2.4).
func (s *inbound) part(reason error) {
	s.reason(reason)
	s.parting.Do(func() {
		s.l.wg.Go(func() { // ended by lingerMost
			ctx, cancel := context.WithTimeout(context.Background(), lingerMost)
			defer cancel()
			s.carrier.part(ctx)
			select {
			case <-s.done:
			case <-ctx.Done():
				s.assoc.Abort("not closed in time")
			}
		})
	})
}

// abort implements consumer.
func (s *inbound) abort(reason error) {
	s.l.drops.add(dropRecord)
	s.end(reason)
}

// end ends the session at once.
func (s *inbound) end(reason error) {
	s.reason(reason)
	s.assoc.Abort(reason.Error())
}

// ended is the end of the receiving goroutine.
func (s *inbound) ended(err error) {
	s.mu.Lock()
	if s.why != nil {
		err = s.why
	}
	s.mu.Unlock()
	s.assoc.Abort("") // frees what is left of it
	if errors.Is(err, transport.ErrTooLarge) {
		s.l.drops.add(dropOversized)
	}
	if err = s.meant(err); errors.Is(err, transport.ErrPeerClosed) {
		err = nil
	}
	s.receiver.Closed(err)
	close(s.done)
	s.l.forget(s)
}
