package export

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"ipfixsuite/ipfix"
)

// tellMessages is how many messages of what a session has to be told are sent
// before others have their turn again.
const tellMessages = 8

// A job is what one Observation Domain has yet to be told on a session, apart
// from the queue: Templates, then options records. Data waits for it.
type job struct {
	d         *domain
	ended     []*ipfix.Template // to be withdrawn first
	templates []*ipfix.Template
	via       *ipfix.Template // on whose stream they go; nil: on their own
	records   []optionsRecord
	// words are streams that are told their Sequence Number.
	words []uint16
	fresh bool // Templates new to the session are then announced
	all   bool // all of them are then sent
}

// beginPrime collects what a session must have before any data: all active
// Templates and Options Templates, and the Data Records that these describe
// (draft-mentz-ipfix-dtls-recommendations-00, Section 3.2).
func (e *Exporter) beginPrime(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.domains {
		sd := s.domain(d, &e.cfg)
		j := job{d: d, templates: slices.Clone(d.active.All())}
		for _, t := range j.templates {
			sd.told[t.ID] = t
		}
		s.arrange(&j)
		sd.version, sd.options, sd.primed = d.active.Version(), d.options.own, true
		if !s.props.Reliable {
			for range announceCopies - 1 {
				s.jobs = append(s.jobs, j)
			}
		}
		j.fresh = true
		j.records = d.options.all(e.released)
		s.jobs = append(s.jobs, j)
		s.nested(d, j.templates)
	}
	s.primedUpTo = e.released
}

// tell sends some of what the session has yet to be told, as far as the window
// permits, and never waits. It reports whether everything is out; if not, it
// goes on with the next round or with the answer of a probe.
func (e *Exporter) tell(ctx context.Context, s *session, now time.Time) (done bool, err error) {
	for sent, i := 0, 0; i < len(s.jobs); {
		j := &s.jobs[i]
		if len(j.ended)+len(j.templates)+len(j.records)+len(j.words) == 0 {
			e.told(s, j, now)
			s.jobs = slices.Delete(s.jobs, i, i+1)
			continue
		}
		if sent++; sent > tellMessages {
			e.loop.again = true
			return false, nil
		}
		switch {
		case s.laned == nil && !e.mayTell(s):
			if s.probe(now); s.probing {
				return false, nil
			}
		case s.laned != nil && !e.mayTellOn(s, j):
			// The stream's data waits with it, that of others does not.
			sent--
			i++
			continue
		}
		var n int
		switch {
		case len(j.ended) > 0:
			n, err = e.sendWithdrawals(ctx, s, j.d, j.ended)
			j.ended = j.ended[n:]
		case len(j.templates) > 0:
			n, err = e.sendTemplates(ctx, s, j.d, j.templates, j.via)
			j.templates = j.templates[n:]
		case len(j.records) > 0:
			n, err = e.sendRecords(ctx, s, j.d, j.records)
			j.records = j.records[n:]
		default:
			e.loop.builder.Reset(e.loop.buf[:0], e.limit(s))
			if err = e.sendBuilt(ctx, s, j.d, j.words[0], 0); err == nil {
				j.words = j.words[1:]
			}
		}
		if err != nil {
			return false, err
		}
	}
	return len(s.jobs) == 0 || s == e.loop.cur, nil
}

// mayTell keeps thousands of Templates from overrunning the collector. Beside
// a session's data the window may be overdrawn by half, so that the few of
// every day never wait.
func (e *Exporter) mayTell(s *session) bool {
	overdraft := 0
	if s != e.loop.next {
		overdraft = max(e.cfg.Window, 0) / 2
	}
	return s.octets == s.confirmed || e.roomOn(s)+overdraft >= e.limit(s)
}

// told notes that a job is done.
func (e *Exporter) told(s *session, j *job, now time.Time) {
	switch sd := s.domain(j.d, &e.cfg); {
	case j.fresh:
		sd.schedule.Announced(now, s.messages)
	case j.all:
		sd.schedule.Sent(now, s.messages)
	}
}

// catchUp tells the session what has become due while it was proven: Templates
// defined since, and options records that went out on the old session.
func (e *Exporter) catchUp(ctx context.Context, s *session, now time.Time) error {
	e.mu.Lock()
	domains := e.domains
	e.mu.Unlock()
	for _, d := range domains {
		e.mu.Lock()
		records := d.options.between(s.primedUpTo, e.released)
		current := s.domain(d, &e.cfg).version == d.active.Version()
		e.mu.Unlock()
		if !current || len(records) > 0 {
			e.announce(s, d, false)
			s.jobs = append(s.jobs, job{d: d, records: records})
		}
	}
	s.round++
	_, err := e.tell(ctx, s, now)
	return err
}

// closingWord makes the session end, in each Observation Domain that had data
// on it, with a Template that was told before: the Sequence Number of its
// message is that of the record that would be next, so that the collector
// knows what is missing at the end as well. On a session so short that the
// Templates were not repeated yet it is all of them: data may wait for one
// that was lost. Where only data may be lost, Templates are not told twice: a
// message of nothing but its header says it on each stream.
func (e *Exporter) closingWord(s *session) {
	if s.props.Reliable && !s.props.Partial {
		return
	}
	e.mu.Lock()
	domains := e.domains
	e.mu.Unlock()
	for i := range s.domains {
		sd := &s.domains[i]
		if s.props.Reliable {
			if words := s.used(domains[i], sd); len(words) > 0 {
				s.jobs = append(s.jobs, job{d: domains[i], words: words})
			}
			continue
		}
		if len(sd.seqs) == 0 || sd.seqs[0] == 0 {
			continue
		}
		told := slices.SortedFunc(maps.Values(sd.told), func(a, b *ipfix.Template) int { return cmp.Compare(a.ID, b.ID) })
		if len(told) == 0 {
			continue
		}
		if !sd.schedule.Repeating() {
			told = told[:1]
		}
		for range announceCopies {
			s.jobs = append(s.jobs, job{d: domains[i], templates: told})
		}
	}
}
