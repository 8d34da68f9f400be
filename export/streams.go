package export

import (
	"errors"
	"slices"
	"time"

	"ipfixsuite/ipfix"
)

// errStands ends a session that was replaced while some of its streams stood
// still: nobody was lost.
var errStands error = standsError{}

type standsError struct{}

func (standsError) Error() string {
	return "the collector does not confirm what some channels carry"
}

// Hint tells the way out.
func (standsError) Hint() string {
	return "the other channels go on; see the collector's log for what takes nothing of that Observation Domain"
}

// streamsEvery is the least time between two looks at a session's streams.
const streamsEvery = 20 * time.Millisecond

var errFell = errors.New("the collector ended the channel")

// late reports whether nothing of what the stream has under way was confirmed
// within a time.
func (f *flow) late(now time.Time, within time.Duration) bool {
	return !f.fell && f.octets > f.settled && now.Sub(f.moved) >= within
}

// underWay is how many octets the collector has yet to confirm on the session's
// streams.
func (s *session) underWay() (n uint64) {
	for i := range s.flows {
		n += s.flows[i].octets - min(s.flows[i].octets, s.laned.Confirmed(uint16(i)))
	}
	return n
}

// partly reports whether the collector confirms what some streams carry, though
// perhaps not what others do: since the last of those that stand still began to
// it has confirmed something.
func (e *Exporter) partly(s *session, now time.Time) bool {
	if s.live == nil || s.grew.IsZero() {
		return false
	}
	window, _ := s.live.Limits()
	var latest time.Time
	for i := range s.flows {
		if f := &s.flows[i]; f.late(now, window) && f.moved.After(latest) {
			latest = f.moved
		}
	}
	if latest.IsZero() { // none stands still
		latest = now.Add(-window)
	}
	return s.grew.After(latest)
}

// watchStreams sees to the streams of the session that carries data. One that
// stands still while its collector confirms what others carry is told of; after
// StallAfter, or when the collector has ended it, it begins anew, and what it
// had under way is sent again. The session goes on.
func (e *Exporter) watchStreams(s *session, now time.Time) {
	if s.laned == nil || s.live == nil || ended(s.t) {
		return
	}
	if !e.noteFallen(s) && now.Sub(s.looked) < streamsEvery {
		return
	}
	e.confirm(s, now)
	s.looked, s.dueAt = now, time.Time{}
	window, stall := s.live.Limits()
	window += window / 2 // by then all are late, if it is the collector that stalls
	partly := e.partly(s, now)
	var fell, standing int
	var again uint64
	for i := range s.flows {
		stream, f := uint16(i), &s.flows[i]
		switch late := f.late(now, window); {
		case f.fell:
			fell++
			again += e.renew(s, stream, now)
		case late && partly && now.Sub(f.moved) >= stall:
			e.standsStill(s, f)
			n := e.renew(s, stream, now)
			e.cfg.Log.Warn("channel given up: it begins anew", "session", s.t.Peer().Session, "domain", e.domainOn(s, stream), "records_again", n)
		case late && partly && !f.stands:
			e.standsStill(s, f)
			e.cfg.Log.Warn("channel stands still", withHint(errStands, "session", s.t.Peer().Session, "domain", e.domainOn(s, stream), "error", errStands)...)
		case f.stands && !late && f.settled > 0:
			f.stands = false
			e.cfg.Log.Info("channel goes on", "session", s.t.Peer().Session, "domain", e.domainOn(s, stream))
		}
		if s.flows[i].stands {
			standing++
		}
		s.due(&s.flows[i], window, stall)
	}
	if fell > 0 {
		e.cfg.Log.Info("channels begin anew", "session", s.t.Peer().Session, "channels", fell, "reason", errFell, "records_again", again)
	}
	if s.standing != standing {
		s.standing = standing
		e.mu.Lock()
		e.standing = standing
		e.mu.Unlock()
	}
}

// due notes when a stream may have stood still for too long.
func (s *session) due(f *flow, window, stall time.Duration) {
	if f.fell || f.octets <= f.settled {
		return
	}
	within := window
	if f.stands {
		within = stall
	}
	// One that is late already waits for what others show.
	if t := f.moved.Add(within); t.After(s.looked) && (s.dueAt.IsZero() || t.Before(s.dueAt)) {
		s.dueAt = t
	}
}

func (e *Exporter) standsStill(s *session, f *flow) {
	if f.stands {
		return
	}
	f.stands = true
	e.mu.Lock()
	e.n.channelsStalled++
	e.mu.Unlock()
}

// streamsNext is when watchStreams must be called at the latest: what was sent
// since the last look stands still no sooner than so long after it.
func (s *session) streamsNext() (at time.Time) {
	if s.laned == nil || s.live == nil {
		return at
	}
	window, _ := s.live.Limits()
	if at = s.looked.Add(window + window/2); !s.dueAt.IsZero() && s.dueAt.Before(at) {
		at = s.dueAt
	}
	if soonest := s.looked.Add(streamsEvery); at.Before(soonest) {
		at = soonest
	}
	return at
}

// domainOn is an Observation Domain that goes on the stream, all but always the
// only one.
func (e *Exporter) domainOn(s *session, stream uint16) uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.domains {
		if s.stream(d, ipfix.MinDataSetID) == stream {
			return d.id
		}
	}
	return 0
}

// noteFallen asks which streams the collector has ended, and reports whether
// there are any.
func (e *Exporter) noteFallen(s *session) bool {
	e.loop.fell = s.laned.Fell(e.loop.fell[:0])
	for _, stream := range e.loop.fell {
		s.flow(stream).fell = true
	}
	return len(e.loop.fell) > 0
}

// fallenBeside does it for the sessions beside the one that carries data. What
// the draining one had under way there goes on that one; a candidate's streams
// begin anew when it carries data.
func (e *Exporter) fallenBeside(now time.Time) {
	if s := e.loop.next; s != nil && !s.over && s.laned != nil {
		e.noteFallen(s)
	}
	s := e.loop.old
	if s == nil || s.over || s.laned == nil || ended(s.t) {
		return
	}
	e.noteFallen(s)
	for _, stream := range e.loop.fell {
		e.giveBack(s, stream, now)
		s.flows[stream] = flow{}
	}
}

// giveBack puts what the session has under way on a stream, and the collector
// has not confirmed, back in front of the queue.
func (e *Exporter) giveBack(s *session, stream uint16, now time.Time) (records uint64) {
	e.confirm(s, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.again(s.kept.extract(func(k *keptMessage) bool { return s.streamOf(k.m) == stream })...)
}

// renew begins a stream of the session anew: as a Transport Session that has
// been told nothing.
func (e *Exporter) renew(s *session, stream uint16, now time.Time) (records uint64) {
	records = e.giveBack(s, stream, now)
	e.mu.Lock()
	e.n.channelsRenewed++
	domains := e.domains
	e.mu.Unlock()
	s.laned.Renew(stream)
	s.flows[stream] = flow{stands: s.flows[stream].stands}
	s.jobs = slices.DeleteFunc(s.jobs, func(j job) bool { return s.streamOfJob(&j) == stream })
	for _, d := range domains {
		if s.stream(d, ipfix.MinDataSetID) == stream && d.index < len(s.domains) {
			s.domains[d.index] = sessionDomain{}
			e.announce(s, d, true)
		}
	}
	return records
}

// toldOthers reports whether a candidate has been told all but what waits for
// streams that stand still.
func (e *Exporter) toldOthers(s *session, now time.Time) bool {
	if s.laned == nil || s.live == nil || e.loop.again {
		return false
	}
	if e.confirm(s, now); s.grew.IsZero() {
		return false
	}
	window, _ := s.live.Limits()
	return !slices.ContainsFunc(s.jobs, func(j job) bool {
		f := s.flow(s.streamOfJob(&j))
		return !f.fell && !f.late(now, window)
	})
}

// partlySilent reports whether the collector of a candidate confirms nothing of
// what its streams carry. Where it does of some, and the rest stand still, the
// session is proven by them: each stream's data comes behind its Templates, and
// that of those waits for itself alone.
func (e *Exporter) partlySilent(s *session, now time.Time) bool {
	if n := s.t.Stats().Heard; n != s.heard {
		s.heard = n
		s.live.Heard(now)
	}
	if !s.live.Overdue(now) {
		return false
	}
	e.confirm(s, now)
	window, _ := s.live.Limits()
	stands := slices.ContainsFunc(s.flows, func(f flow) bool { return f.late(now, window) })
	cur := e.loop.cur
	switch {
	case s.grew.IsZero():
		return true
	case stands && cur != nil && cur.path != s.path:
		return true // that one's takes them, perhaps
	case stands && s.proving:
		s.proven = true
	}
	s.live.Partly(now)
	return false
}

// undrained is why a session that was replaced has not been confirmed in time.
func (e *Exporter) undrained(s *session, now time.Time) error {
	if s.laned == nil {
		return errUnconfirmed
	}
	if e.confirm(s, now); e.partly(s, now) {
		return errStands
	}
	return errUnconfirmed
}
