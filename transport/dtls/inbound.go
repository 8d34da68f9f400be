package dtls

import (
	"bytes"
	"sync/atomic"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// maxBarriers bounds the heartbeat requests of one session that wait for the
// sinks; RFC 6520 allows a peer one in flight.
const maxBarriers = 4

// inbound is one established session of a Listener; the listener's mu guards
// what association does not.
type inbound struct {
	*association
	receiver transport.Receiver
	cid      []byte
	random   [32]byte
	id       []byte // of the resumable session
	admission
	heard time.Time
	over  bool // its Receiver was told
	// asked: its peer has sent a request before; unasked: messages came after
	// the last one, which no answer confirms.
	asked, unasked bool
	// staying: at the listener's end, until its last request is answered.
	staying atomic.Bool

	// waiting are the payloads of requests whose barrier is not done, under
	// association.wmu.
	waiting [][]byte
}

// record takes one authentic record; it returns false when the session ended.
func (l *listener) record(s *inbound, t record.Type, content []byte, now time.Time) bool {
	switch t {
	case record.ApplicationData:
		s.unasked = true
		s.receiver.Message(transport.Incoming{Data: content, Received: now})
	case record.Heartbeat:
		l.heartbeat(s, content)
	case record.Alert:
		if err := Ended(content); err != nil {
			l.end(s, err)
			return false
		}
	case record.Handshake:
		// The client's Finished again: it has not seen ours. A renegotiation
		// is not followed.
		if len(content) > 0 && content[0] == typeFinished {
			s.repeatFlight(now)
		} else {
			l.drops.add(dropUnexpected)
		}
	default:
		l.drops.add(dropUnexpected)
	}
	return true
}

// heartbeat answers a request once everything before it is written.
func (l *listener) heartbeat(s *inbound, content []byte) {
	m, err := heartbeat.Parse(content)
	if err != nil || m.Type != heartbeat.Request || !s.answers {
		l.drops.add(dropHeartbeat)
		return
	}
	l.stats.ProbesReceived++
	s.asked, s.unasked = true, false
	payload, fresh := s.wait(m.Payload)
	if !fresh {
		if payload == nil {
			l.drops.add(dropQueueFull)
		}
		return
	}
	s.receiver.Barrier(func() {
		// Any goroutine; possibly within Barrier, with mu held.
		s.waited(payload)
		if s.sendHeartbeat(heartbeat.Message{Type: heartbeat.Response, Payload: payload}) == nil {
			l.probesAnswered.Add(1)
		}
		l.farewell(s)
	})
}

// wait notes a request that waits for its barrier. A repeated one waits
// already; nil says there are too many.
func (s *inbound) wait(payload []byte) (kept []byte, fresh bool) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	for _, w := range s.waiting {
		if bytes.Equal(w, payload) {
			return w, false
		}
	}
	if len(s.waiting) == maxBarriers {
		return nil, false
	}
	kept = append(make([]byte, 0, len(payload)), payload...)
	s.waiting = append(s.waiting, kept)
	return kept, true
}

func (s *inbound) waited(payload []byte) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	for i, w := range s.waiting {
		if bytes.Equal(w, payload) {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			break
		}
	}
	if len(s.waiting) == 0 {
		s.waiting = nil
	}
}

// end closes a session and tells its Receiver. A close_notify of the peer is
// answered by one (RFC 5246, Section 7.2.1).
func (l *listener) end(s *inbound, reason error) {
	if s.over {
		return
	}
	s.over = true
	l.farewell(s)
	s.close(alertWarning, alertCloseNotify)
	if p := l.peers[s.remote]; p != nil && p.session == s {
		p.session = nil
		l.forget(p)
	}
	if s.cid != nil {
		delete(l.byCID, [cidLen]byte(s.cid))
	}
	l.count--
	l.stats.SessionsClosed++
	if _, fatal := reason.(*AlertError); fatal { //nolint:errorlint // as Ended made it
		l.cache.del(string(s.id), s.id)
	}
	if reason == transport.ErrPeerClosed { //nolint:errorlint // as Ended made it
		reason = nil
	}
	s.receiver.Closed(reason)
}
