package export

import (
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// A flow is what a session knows of one of its streams, where these fill one by
// one (transport.Laned): each has room of its own, so that one that stands still
// keeps none of the others waiting. How much is under way the transport's own
// flow control decides, and what may be kept until it is confirmed.
type flow struct {
	octets  uint64 // handed to the transport
	settled uint64 // of these: confirmed, and let go of
	kept    int    // storage of the rest
	// moved is when that began to be under way, or some of it was confirmed
	// last. fell: the collector ended the stream. stands: that it stands still
	// has been told.
	moved        time.Time
	fell, stands bool
	// In the loop's present round: what it takes, and whether something waits
	// for it, behind which all that comes later has to.
	round   uint64
	room    int
	stopped bool
}

// laneShare is the part of RetainBytes, and of QueueBytes, that a stream which
// stands still may fill.
const laneShare = 4

// flow returns the state of a stream in this round.
func (s *session) flow(stream uint16) *flow {
	for len(s.flows) <= int(stream) {
		s.flows = append(s.flows, flow{})
	}
	f := &s.flows[stream]
	if f.round != s.round {
		f.round, f.stopped = s.round, false
		f.room = s.laned.Room(stream)
	}
	return f
}

// carried notes that the transport took a message on a stream.
func (s *session) carried(stream uint16, octets int, now time.Time) {
	f := s.flow(stream)
	if f.octets == f.settled {
		f.moved = now
	}
	f.octets += uint64(octets)
}

// takes reports whether there is room for a message on its stream, and takes
// it. From the first that has to wait on, all of its stream wait.
func (s *session) takes(stream uint16, octets, storage int, cfg *Config) bool {
	f := s.flow(stream)
	if !f.stopped && f.room >= octets && (f.kept == 0 || f.kept+storage <= cfg.RetainBytes/laneShare) {
		f.room -= octets
		return true
	}
	f.stopped = true
	return false
}

// pick brings what the session takes now to the front of the queue, a batch at
// most, and returns how many messages that are. What waits for its stream
// stays behind in its order. Exporter.mu is held.
func (e *Exporter) pick(s *session) (n int) {
	q, l := &e.queue, &e.loop
	if s.laned == nil {
		e.stalled = false
		n = min(q.len(), batchMessages)
		for i := range n {
			l.batch[i] = q.at(i)
		}
		return n
	}
	passed := l.passed[:0]
	i := 0
	for ; i < q.len() && n < batchMessages; i++ {
		m := q.at(i)
		if s.kept.n > 0 && s.kept.octets+n*e.maxMessage+cap(m.buf) > e.cfg.RetainBytes {
			break // nothing that is not confirmed is let go of
		}
		if s.takes(s.streamOf(m), max(len(m.data), minMessage), cap(m.buf), &e.cfg) {
			l.batch[n] = m
			n++
		} else {
			passed = append(passed, m)
		}
	}
	if e.stalled = len(passed) > 0; e.stalled {
		q.arrange(l.batch[:n], passed)
		e.disordered = true
	}
	clear(passed)
	l.passed = passed
	return n
}

// arrange makes these, which are the queue's first, its first in this order.
func (q *queue) arrange(first, then []*message) {
	for i, m := range first {
		q.ring[(q.head+i)%len(q.ring)] = m
	}
	for i, m := range then {
		q.ring[(q.head+len(first)+i)%len(q.ring)] = m
	}
}

// crowded reports whether a lane has more than its share of the queue while
// streams stand still: what others write still finds room. Exporter.mu is held.
func (e *Exporter) crowded(l *lane) bool {
	return e.stalled && e.session != nil && l.queued+e.maxMessage > e.cfg.QueueBytes/laneShare
}

// settle lets go of what was confirmed, wherever it stands among what is kept.
// Exporter.mu is held.
func (e *Exporter) settle(s *session, now time.Time) {
	grown := false
	for i := range s.flows {
		f := &s.flows[i]
		if c := s.laned.Confirmed(uint16(i)); c > f.settled {
			f.settled, f.moved, grown = c, now, true
		}
	}
	if !grown {
		return
	}
	s.grew = now
	has := func(k *keptMessage) bool { return k.end <= s.flows[s.streamOf(k.m)].settled }
	k := &s.kept
	for k.n > 0 && has(k.first()) {
		e.settled(s, k.first().m, now)
		k.pop()
	}
	n := 0
	for i := range k.n { // behind what stands still
		at := k.at(i)
		if has(at) {
			k.octets -= cap(at.m.buf)
			e.settled(s, at.m, now)
		} else {
			*k.at(n) = *at
			n++
		}
	}
	for i := n; i < k.n; i++ {
		*k.at(i) = keptMessage{}
	}
	k.n = n
}

func (e *Exporter) settled(s *session, m *message, now time.Time) {
	s.flows[s.streamOf(m)].kept -= cap(m.buf)
	e.done(m, now)
}

// freed is a word when streams of the session have room again; nil: never.
func freed(s *session) <-chan struct{} {
	if s == nil || s.over || s.laned == nil {
		return nil
	}
	return s.laned.Freed()
}

// mayTellOn reports whether the session's stream takes one of the messages of a
// job now.
func (e *Exporter) mayTellOn(s *session, j *job) bool {
	return s.takes(s.streamOfJob(j), e.limit(s), 0, &e.cfg)
}

// streamOfJob is that of its next message.
func (s *session) streamOfJob(j *job) uint16 {
	switch {
	case len(j.ended) > 0:
		return s.stream(j.d, j.ended[0].ID)
	case len(j.templates) > 0 && j.via != nil:
		return s.stream(j.d, j.via.ID)
	case len(j.templates) > 0:
		return s.stream(j.d, j.templates[0].ID)
	case len(j.records) > 0:
		return s.stream(j.d, j.records[0].t.ID)
	case len(j.words) > 0:
		return j.words[0]
	}
	return s.stream(j.d, ipfix.MinDataSetID)
}

// fill makes the session one whose streams fill one by one, if its transport
// tells of them.
func (s *session) fill() { s.laned, _ = s.t.(transport.Laned) }
