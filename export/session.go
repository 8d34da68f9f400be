package export

import (
	"context"
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

// session is one Transport Session and what the collector has been told on
// it. The loop owns it; only the prober runs beside.
type session struct {
	t       transport.Session
	props   transport.Properties
	domains []sessionDomain // by domain.index

	messages uint64 // handed to t
	octets   uint64
	// confirmed is how many of octets the collector's process has proven to
	// have taken; probed how many the probe under way will prove.
	confirmed, probed uint64

	opened   time.Time
	probes   chan uint64 // to the prober; one at most is under way
	probing  bool
	canProbe bool
	probeAt  time.Time // of the next heartbeat
	stop     context.CancelFunc

	// tries counts the failures to send what is due next, since failing;
	// retryAt is when it is tried again.
	tries            int
	failing, retryAt time.Time
}

// sessionDomain is a session's state of one Observation Domain.
type sessionDomain struct {
	// seq is the sequence number of the next message: the Data Records sent
	// so far on this session, and those that should have been but were
	// dropped (RFC 7011, Section 3.1).
	seq      uint32
	version  uint64 // of domain.active when Templates were last announced
	told     map[uint16]*ipfix.Template
	schedule *templates.Schedule
	primed   bool   // had all there was when it began
	options  uint64 // number of the last of the Exporter's own records sent
}

type probeResult struct {
	s      *session
	octets uint64 // sent before the probe
	err    error
}

func newSession(t transport.Session, now time.Time, cfg *Config) *session {
	p := t.Properties()
	s := &session{
		t:        t,
		props:    p,
		opened:   now,
		probes:   make(chan uint64, 1),
		canProbe: p.Confirms == transport.ConfirmProcess,
	}
	if cfg.Heartbeat > 0 {
		s.probeAt = now.Add(cfg.Heartbeat)
	}
	return s
}

// domain returns the session's state of a domain.
func (s *session) domain(d *domain, cfg *Config) *sessionDomain {
	for len(s.domains) <= d.index {
		s.domains = append(s.domains, sessionDomain{})
	}
	sd := &s.domains[d.index]
	if sd.schedule == nil {
		sd.told = make(map[uint16]*ipfix.Template)
		sd.schedule = templates.NewSchedule(cfg.schedule(s.props))
	}
	return sd
}

// prober answers the loop's requests for probes. It ends when probes is
// closed; stop cuts the probe under way short.
func (s *session) prober(ctx context.Context, timeout time.Duration, results chan<- probeResult) {
	for octets := range s.probes {
		pctx, cancel := context.WithTimeout(ctx, timeout)
		err := s.t.Probe(pctx)
		cancel()
		select {
		case results <- probeResult{s, octets, err}:
		case <-ctx.Done():
			return
		}
	}
}

// probe asks for a sign of life unless one is awaited already.
func (s *session) probe(now time.Time, cfg *Config) {
	if s.probing || !s.canProbe {
		return
	}
	s.probing = true
	s.probed = s.octets
	if cfg.Heartbeat > 0 {
		s.probeAt = now.Add(cfg.Heartbeat)
	}
	s.probes <- s.octets
}

// heartbeatDue reports whether the session was not probed for long enough.
func (s *session) heartbeatDue(now time.Time) bool {
	return s.canProbe && !s.probing && !s.probeAt.IsZero() && !now.Before(s.probeAt)
}

// room is how many octets may be sent before a probe is answered.
func (s *session) room(window int) int {
	if window < 0 || !s.canProbe {
		return int(^uint(0) >> 1)
	}
	return window - int(s.octets-s.confirmed)
}

// halfSpent reports whether half the window went out after what the last
// probe covers: time for the next one, so that its answer is there before
// the window is full.
func (s *session) halfSpent(window int) bool {
	return window > 0 && s.canProbe && s.octets-max(s.confirmed, s.probed) >= uint64(window/2)
}
