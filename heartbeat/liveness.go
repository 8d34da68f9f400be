package heartbeat

import "time"

// State is what is believed of a session's peer.
type State uint8

const (
	// Alive: it answered, and nothing is overdue.
	Alive State = iota
	// Suspect: an answer is overdue; a parallel handshake is asked for.
	Suspect
	// Dead is final: this session is to be given up, what it does not confirm
	// sent again elsewhere.
	Dead
)

// Cause says why a peer is Dead.
type Cause uint8

const (
	NoCause Cause = iota
	// Silent: it answered neither requests nor a handshake in time.
	Silent
	// Stalled: handshakes succeed but requests stay unanswered. A collector
	// whose sinks do not write looks like this.
	Stalled
)

// Action is what the owner of a session is to do.
type Action uint8

const (
	None Action = iota
	// Probe: send a request, and repeat it as a Timer says until Answered.
	Probe
	// Handshake: open a session beside this one and report by SecondOpinion.
	Handshake
)

// Defaults of LivenessConfig.
const (
	DefaultInterval       = time.Second
	DefaultWindow         = 2 * time.Second
	DefaultStallAfter     = 30 * time.Second
	DefaultHandshakeEvery = 30 * time.Second
	DefaultHandshakeLimit = 15 * time.Second
)

const (
	// slack is what the owner's loop may take to do what is due.
	slack = 100 * time.Millisecond
	// minWindow: nobody is called dead sooner, however it is configured.
	minWindow = 500 * time.Millisecond
	// minSuspicion: nobody is suspected sooner.
	minSuspicion = 400 * time.Millisecond
	// retryHandshake and maxHandshakeBackoff space the handshakes that
	// suspicion and hints ask for.
	retryHandshake      = time.Second
	maxHandshakeBackoff = time.Minute
	// maxConfirm ends the doubling of the time between handshakes that tell a
	// stalled peer from one that died meanwhile; it begins with
	// retryHandshake.
	maxConfirm = 4 * time.Second
	// hintEvery bounds the requests sent because of hints, which are forged
	// easily.
	hintEvery = 200 * time.Millisecond
)

// LivenessConfig says how soon a peer is asked and judged. The zero value of
// each field stands for its default.
type LivenessConfig struct {
	// Interval is the time between the beginnings of two requests; default
	// 1 s (RFC 6520, Section 5.2, asks for 1 s to minutes).
	Interval time.Duration
	// DeadAfter is the time within which a peer's death is known, whenever it
	// dies; default Interval plus 2 s. A request may stay unanswered for
	// DeadAfter - Interval, but never less than 0.5 s.
	DeadAfter time.Duration
	// StallAfter is how long requests may stay unanswered while handshakes
	// succeed; default 30 s.
	StallAfter time.Duration

	// Mute says that the peer answers no requests: handshakes are the probes.
	Mute bool
	// HandshakeEvery is the time between the handshakes of a Mute peer;
	// default 30 s. HandshakeLimit is how long one may take; default 15 s,
	// and DeadAfter after a hint. The sum bounds the time to detect death.
	HandshakeEvery, HandshakeLimit time.Duration
}

func (c LivenessConfig) withDefaults() LivenessConfig {
	setDefault(&c.Interval, DefaultInterval)
	setDefault(&c.DeadAfter, c.Interval+DefaultWindow)
	setDefault(&c.StallAfter, DefaultStallAfter)
	setDefault(&c.HandshakeEvery, DefaultHandshakeEvery)
	setDefault(&c.HandshakeLimit, DefaultHandshakeLimit)
	return c
}

// window is how long a request may stay unanswered.
func (c *LivenessConfig) window() time.Duration {
	return max(c.DeadAfter-c.Interval-slack, minWindow)
}

// Liveness decides whether the peer of one session lives.
//
// A peer is Suspect when an answer takes far longer than answers do; then a
// handshake beside the session is asked for as a second opinion. It is Dead
// when the request has been unanswered for DeadAfter - Interval and no
// handshake succeeded meanwhile. If one did, the peer's process lives and
// something holds its answers back: it stays Suspect, and Dead follows when
// that lasts for StallAfter, or when a later handshake fails.
//
// The owner calls Advance when Next is due and does what it says.
type Liveness struct {
	cfg   LivenessConfig
	rnd   func() float64
	state State
	cause Cause
	rtt   RTT

	next  time.Time // Advance is due; the loop's lateness is measured by it
	askAt time.Time
	asked time.Time // the request in flight, zero: none
	quiet time.Time // since when nothing came while one is in flight
	urged time.Time // the last request or handshake because of a hint

	dialAt   time.Time // the next handshake, zero: none wanted
	dialed   time.Time // the one under way, zero: none
	limit    time.Duration
	backoff  time.Duration
	opinion  bool          // a handshake succeeded since asked
	confirm  time.Duration // to the handshake after that
	lastDial time.Time
}

// NewLiveness begins with a peer that has just completed a handshake. rnd gives
// numbers in [0, 1).
func NewLiveness(cfg LivenessConfig, now time.Time, rnd func() float64) *Liveness {
	l := &Liveness{cfg: cfg.withDefaults(), rnd: rnd, backoff: retryHandshake, lastDial: now}
	l.schedule(now)
	l.plan()
	return l
}

// State returns what is believed now.
func (l *Liveness) State() State { return l.state }

// Cause tells why the peer is Dead.
func (l *Liveness) Cause() Cause { return l.cause }

// RTT is the smoothed time from a request to its answer, retransmissions and
// the peer's own work included; 0 while unknown.
func (l *Liveness) RTT() time.Duration { return l.rtt.Mean() }

// Waiting reports whether a request is in flight.
func (l *Liveness) Waiting() bool { return !l.asked.IsZero() }

// Next is when Advance is to be called at the latest; zero: never.
func (l *Liveness) Next() time.Time { return l.next }

// Advance does what time demands. It is called again until it returns None.
func (l *Liveness) Advance(now time.Time) Action {
	l.forgive(now)
	a := l.advance(now)
	l.plan()
	return a
}

func (l *Liveness) advance(now time.Time) Action {
	l.judge(now)
	switch {
	case l.state == Dead:
		return None
	case due(l.askAt, now) && l.asked.IsZero():
		l.ask(now)
		return Probe
	case due(l.dialAt, now) && l.dialed.IsZero():
		l.dialAt, l.dialed, l.lastDial = time.Time{}, now, now
		return Handshake
	}
	return None
}

// forgive takes time off in which this side did not run (a stopped process, a
// sleeping machine): answers may have come and wait to be read.
func (l *Liveness) forgive(now time.Time) {
	if l.next.IsZero() {
		return
	}
	late := now.Sub(l.next)
	if late <= slack {
		return
	}
	for _, t := range []*time.Time{&l.asked, &l.quiet, &l.dialed} {
		if !t.IsZero() {
			*t = t.Add(late)
		}
	}
}

// judge raises the state as far as time justifies.
func (l *Liveness) judge(now time.Time) {
	if l.cfg.Mute {
		// The handshake under way is the probe.
		if !l.dialed.IsZero() && now.Sub(l.dialed) >= l.limit {
			l.die(Silent)
		}
		return
	}
	if l.asked.IsZero() || l.state == Dead {
		return
	}
	if l.state == Alive && now.Sub(l.quiet) >= l.patience() {
		l.state = Suspect
		l.dialAt = later(now, l.lastDial.Add(retryHandshake))
	}
	switch {
	case now.Sub(l.asked) >= max(l.cfg.StallAfter, l.cfg.window()):
		if l.opinion {
			l.die(Stalled)
		} else {
			l.die(Silent)
		}
	case !l.opinion && now.Sub(l.quiet) >= l.cfg.window():
		l.die(Silent)
	case l.opinion && !l.dialed.IsZero() && now.Sub(l.dialed) >= l.cfg.window():
		l.die(Silent)
	}
}

func (l *Liveness) die(c Cause) {
	l.state, l.cause = Dead, c
	l.askAt, l.dialAt = time.Time{}, time.Time{}
}

// patience is how long an answer may take without suspicion.
func (l *Liveness) patience() time.Duration {
	d := 2 * l.rtt.Timeout(minSuspicion/2)
	return min(max(d, minSuspicion), l.cfg.window()/2)
}

// Ask begins a request before its time, for an owner who wants what it sent
// confirmed; false: one is in flight already, or none may be sent.
func (l *Liveness) Ask(now time.Time) bool {
	if l.cfg.Mute || l.state == Dead || !l.asked.IsZero() {
		return false
	}
	l.ask(now)
	l.plan()
	return true
}

func (l *Liveness) ask(now time.Time) {
	l.asked, l.quiet, l.askAt = now, now, time.Time{}
	l.opinion, l.confirm = false, retryHandshake
}

// Answered takes the answer to the request in flight.
func (l *Liveness) Answered(now time.Time) {
	if l.asked.IsZero() || l.state == Dead {
		return
	}
	l.rtt.Sample(now.Sub(l.asked))
	at := l.asked.Add(l.interval())
	l.asked, l.quiet = time.Time{}, time.Time{}
	l.state, l.opinion = Alive, false
	l.dialAt = time.Time{}
	l.backoff = retryHandshake
	// A pause of a round trip, so that slow answers are not asked for without
	// end (RFC 6520, Section 5.2, SHOULD).
	l.askAt = later(at, now.Add(min(l.rtt.Mean(), l.cfg.Interval)))
	l.plan()
}

// Heard takes any other authentic record of the peer: it lives, although the
// answer is not there.
func (l *Liveness) Heard(now time.Time) {
	if l.state == Dead || l.asked.IsZero() {
		return
	}
	l.quiet = now
	if l.state == Suspect && !l.opinion {
		l.state, l.dialAt = Alive, time.Time{}
	}
	l.plan()
}

// Hint takes a sign that the peer cannot be reached which anybody can forge
// (ICMP): it is asked at once, nothing more.
func (l *Liveness) Hint(now time.Time) {
	if l.state == Dead {
		return
	}
	if l.cfg.Mute {
		if l.dialed.IsZero() {
			// Each handshake that disproves a hint doubles the wait.
			l.dialAt = sooner(l.dialAt, later(now, l.lastDial.Add(l.backoff)))
			l.limit = l.cfg.DeadAfter
			l.urged = now
			l.state = Suspect
		}
	} else if l.asked.IsZero() && now.Sub(l.urged) >= hintEvery {
		l.urged = now
		l.askAt = now
	}
	l.plan()
}

// SecondOpinion takes the outcome of a Handshake; ok: it was completed.
func (l *Liveness) SecondOpinion(now time.Time, ok bool) {
	if l.state == Dead {
		return
	}
	l.dialed = time.Time{}
	switch {
	case l.cfg.Mute && ok:
		if l.state == Suspect {
			l.backoff = min(2*l.backoff, maxHandshakeBackoff)
		}
		l.state = Alive
		l.schedule(now)
	case l.cfg.Mute:
		l.die(Silent)
	case l.asked.IsZero():
		// Answered meanwhile.
	case ok:
		l.opinion = true
		l.dialAt = now.Add(l.confirm)
		l.confirm = min(2*l.confirm, maxConfirm)
	case l.opinion:
		l.die(Silent)
	default:
		l.dialAt = now.Add(retryHandshake)
	}
	l.plan()
}

// Silence makes the peer one without heartbeat: it turned out to answer none.
func (l *Liveness) Silence(now time.Time) {
	if l.state == Dead || l.cfg.Mute {
		return
	}
	l.cfg.Mute = true
	l.asked, l.quiet, l.askAt = time.Time{}, time.Time{}, time.Time{}
	l.state = Alive
	l.schedule(now)
	l.plan()
}

// schedule sets the next request, or handshake, of an idle peer.
func (l *Liveness) schedule(now time.Time) {
	if !l.cfg.Mute {
		l.askAt = now.Add(l.interval())
		return
	}
	l.limit = l.cfg.HandshakeLimit
	l.dialAt = now.Add(l.spread(l.cfg.HandshakeEvery))
}

func (l *Liveness) interval() time.Duration { return l.spread(l.cfg.Interval) }

// spread shortens d by up to a tenth, so that many sessions do not beat as one.
func (l *Liveness) spread(d time.Duration) time.Duration {
	return d - time.Duration(l.rnd()*float64(d)/10)
}

// plan computes Next.
func (l *Liveness) plan() {
	l.next = time.Time{}
	if l.state == Dead {
		return
	}
	at := func(t time.Time) { l.next = sooner(l.next, t) }
	if l.asked.IsZero() {
		at(l.askAt)
	}
	if l.dialed.IsZero() {
		at(l.dialAt)
	} else if l.cfg.Mute {
		at(l.dialed.Add(l.limit))
	} else if l.opinion {
		at(l.dialed.Add(l.cfg.window()))
	}
	if l.asked.IsZero() {
		return
	}
	if l.state == Alive {
		at(l.quiet.Add(l.patience()))
	}
	at(l.asked.Add(max(l.cfg.StallAfter, l.cfg.window())))
	if !l.opinion {
		at(l.quiet.Add(l.cfg.window()))
	}
}

// due reports whether t is set and reached.
func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// sooner takes a zero time as never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
