package export

import (
	"context"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/ipfix"
	"ipfixsuite/rotation"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

// session is one Transport Session and what the collector has been told on
// it. The loop owns it; only the prober runs beside.
type session struct {
	id      rotation.ID
	path    int // which of the collectors it goes to
	t       transport.Session
	props   transport.Properties
	domains []sessionDomain // by domain.index
	spread  Streams         // how its streams are used
	// perStream: the rules of RFC 6526 are kept.
	perStream bool
	// laned and flows are of streams that fill one by one; nil: they do not.
	laned transport.Laned
	flows []flow    // by stream
	grew  time.Time // when the collector last confirmed some of any stream
	// looked is when the streams were looked at last, standing how many stood
	// still, dueAt when the next one may.
	looked, dueAt time.Time
	standing      int
	round         uint64 // of the loop

	messages uint64 // handed to t
	octets   uint64
	// confirmed is how many of octets the collector's process has proven to
	// have taken; probed how many the probe under way will prove. It cannot
	// overtake what was sent up to covers, nor the last one that was answered
	// what was sent up to proof.
	confirmed, probed uint64
	covers, proof     time.Time
	kept              kept
	// tracker tells the fate of messages; nil: nobody does. missed are those
	// that the network lost, to be sent again on the next session.
	tracker      transport.Tracker
	fates        []transport.Fate
	missed       []*message
	missedOctets int

	probes   chan uint64 // to the prober; one at most is under way
	probing  bool
	canProbe bool
	// live judges the session while it carries data, or is to; nil: nothing
	// can tell.
	live   *heartbeat.Liveness
	stop   context.CancelFunc
	stalls bool   // told so
	over   bool   // given up or closed: nothing concerns it any more
	hints  uint64 // what SessionStats.UnreachableHints was last
	heard  uint64 // and SessionStats.Heard

	// jobs are what it has yet to be told, before any more data.
	jobs []job

	// As candidate: up to which message of the queue it knows the options
	// records.
	primedUpTo uint64
	primed     bool
	proving    bool
	proven     bool

	// refuted: a handshake with its collector failed since it last answered.
	// doubted: the time up to which what it was sent is thought to have
	// arrived, since then (zero: all that is old enough).
	refuted bool
	doubted time.Time

	concluded bool // the final statistics are out

	// When replaced.
	draining            bool
	replaced            rotation.Cause
	drainBegan, settled time.Time

	// tries counts the failures to send what is due next, since failing;
	// retryAt is when it is tried again.
	tries            int
	failing, retryAt time.Time
}

// sessionDomain is a session's state of one Observation Domain.
type sessionDomain struct {
	seqs    []uint32 // see session.seq
	version uint64   // of domain.active when Templates were last announced
	told    map[uint16]*ipfix.Template
	// ended are Templates whose withdrawal has its place behind what was
	// sent: they are not announced again.
	ended    map[*ipfix.Template]bool
	schedule *templates.Schedule
	primed   bool   // had all there was when it began
	options  uint64 // number of the last of the Exporter's own records sent
	// reliability are the Options Templates of RFC 6526 told so far, by stream.
	reliability map[uint16]*ipfix.Template
}

type probeResult struct {
	s      *session
	octets uint64 // sent before the probe
	err    error
}

func newSession(t transport.Session, streams Streams) *session {
	p := t.Properties()
	p.Streams = min(p.Streams, reservedIDs)
	s := &session{
		t:        t,
		props:    p,
		probes:   make(chan uint64, 1),
		canProbe: p.Confirms == transport.ConfirmProcess,
		spread:   streams.spread(p),
		// RFC 6526 is about SCTP.
		perStream: streams == StreamPerTemplate && p.Reliable && p.Ordered && !p.Stream,
	}
	s.track()
	s.fill()
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
		sd.ended = make(map[*ipfix.Template]bool)
		sd.schedule = templates.NewSchedule(cfg.schedule(s.props))
	}
	return sd
}

// prober answers the loop's requests for probes. It ends when probes is
// closed, or the loop has; stop cuts the probe under way short.
func (s *session) prober(ctx context.Context, l *loop) {
	for octets := range s.probes {
		pctx, cancel := context.WithTimeout(ctx, probeTimeout)
		err := s.t.Probe(pctx)
		cancel()
		select {
		case l.probed <- probeResult{s, octets, err}:
		case <-l.over:
			return
		}
	}
}

// probe asks for a sign of life unless one is awaited already.
func (s *session) probe(now time.Time) {
	if s.probing || !s.canProbe {
		return
	}
	s.probing = true
	s.probed, s.covers = s.octets, now.Add(-s.reordering())
	if s.live != nil {
		s.live.Ask(now) // if it was not its wish
	}
	s.probes <- s.octets
}

// lastWord takes the result of the probe under way on a session that has
// ended, or is given up: the answer may have come right before.
func (e *Exporter) lastWord(s *session) {
	s.stop()
	for s.probing {
		r := <-e.loop.probed
		if r.s != s {
			e.answered(r)
			continue
		}
		s.probing = false
		if r.err == nil {
			s.prove(r.octets)
		}
	}
}

// roomOn is how many octets may be sent on the session before a probe is
// answered. What is unconfirmed on the session beside it counts as well: it
// waits in the same socket.
func (e *Exporter) roomOn(s *session) int {
	if e.cfg.Window < 0 || !s.canProbe || s.laned != nil {
		return int(^uint(0) >> 1)
	}
	room := e.cfg.Window
	for _, o := range [...]*session{e.loop.cur, e.loop.next, e.loop.old} {
		if o != nil && o.canProbe && o.path == s.path && (o == s || !o.over) {
			room -= int(o.octets - o.confirmed)
		}
	}
	return room
}

// halfSpent reports whether half the window went out after what the last
// probe covers: time for the next one, so that its answer is there before
// the window is full.
func (s *session) halfSpent(window int) bool {
	return window > 0 && s.canProbe && s.octets-max(s.confirmed, s.probed) >= uint64(window/2)
}
