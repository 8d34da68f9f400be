package export

import (
	"context"
	"slices"
	"time"

	"ipfixsuite/ipfix"
)

// primeMessages is how many messages of a new session's beginning are sent
// before the data on the old one has its turn again.
const primeMessages = 8

// A primeJob is what one Observation Domain has yet to be told on a session
// that is being primed.
type primeJob struct {
	d         *domain
	templates []*ipfix.Template
	records   []optionsRecord
}

// beginPrime collects what a session must have before any data: all active
// Templates and Options Templates, and the Data Records that these describe
// (draft-mentz-ipfix-dtls-recommendations-00, Section 3.2).
func (e *Exporter) beginPrime(s *session, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range e.domains {
		sd := s.domain(d, &e.cfg)
		job := primeJob{d: d, templates: slices.Clone(d.active.All())}
		for _, t := range job.templates {
			sd.told[t.ID] = t
		}
		sd.version, sd.options, sd.primed = d.active.Version(), d.options.own, true
		sd.schedule.Announced(now, 0)
		if !s.props.Reliable {
			for range announceCopies - 1 {
				s.priming = append(s.priming, job)
			}
		}
		job.records = d.options.all(e.released)
		s.priming = append(s.priming, job)
	}
	s.primedUpTo = e.released
}

// prime sends some of it, as far as the window permits. It reports whether
// everything is out.
func (e *Exporter) prime(ctx context.Context, s *session, now time.Time) (done bool, err error) {
	for sent := 0; len(s.priming) > 0; sent++ {
		if sent == primeMessages {
			e.loop.again = true
			return false, nil
		}
		if e.roomOn(s) < e.limit(s) && s.octets > s.confirmed {
			s.probe(now)
			if s.probing {
				return false, nil // goes on when it is answered
			}
		}
		job := &s.priming[0]
		var n int
		switch {
		case len(job.templates) > 0:
			n, err = e.sendSomeTemplates(ctx, s, job.d, job.templates)
			job.templates = job.templates[n:]
		case len(job.records) > 0:
			n, err = e.sendSomeRecords(ctx, s, job.d, job.records)
			job.records = job.records[n:]
		default:
			s.priming = s.priming[1:]
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// catchUp sends what has become due while the session was proven: Templates
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
			if err := e.announce(ctx, s, d, now, false); err != nil {
				return err
			}
			if err := e.sendRecords(ctx, s, d, records); err != nil {
				return err
			}
		}
	}
	return nil
}
