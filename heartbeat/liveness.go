package heartbeat

import "time"

// Liveness decides whether the peer of one session lives.
//
// A peer is Suspect when an answer takes far longer than answers do; then a
// handshake beside the session is asked for as a second opinion. It is Dead
// when the request has been unanswered for DeadAfter - Interval and no
// handshake succeeded meanwhile. If one did, the peer's process lives and
// something holds its answers back: it stays Suspect, and Dead follows when
// that lasts for StallAfter, or when a later handshake fails.
//
// A Mute peer is asked by handshakes alone; it is Dead when they have failed
// for their limit. Hints shorten that, they decide nothing.
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
	failing  time.Time // Mute: since when handshakes fail, or the first is under way
	hinted   bool      // Mute: since the last handshake
	backoff  time.Duration
	opinion  bool          // a handshake succeeded since asked
	stalling bool          // and yet the request is unanswered for too long
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

// Successor judges the next session with the same peer, and keeps what was
// learnt of it on this one.
func (l *Liveness) Successor(now time.Time) *Liveness {
	n := NewLiveness(l.cfg, now, l.rnd)
	n.rtt, n.backoff, n.urged = l.rtt, l.backoff, l.urged
	return n
}

// State returns what is believed now.
func (l *Liveness) State() State { return l.state }

// Cause tells why the peer is Dead.
func (l *Liveness) Cause() Cause { return l.cause }

// RTT is the smoothed time from a request to its answer, retransmissions and
// the peer's own work included; with a Mute peer, what a handshake takes. 0 while
// unknown.
func (l *Liveness) RTT() time.Duration { return l.rtt.Mean() }

// Waiting reports whether a request is in flight.
func (l *Liveness) Waiting() bool { return !l.asked.IsZero() }

// Stalling reports whether the peer would be Dead by now, had no handshake
// succeeded and nothing been heard since it was asked: its process lives, but
// does not answer.
func (l *Liveness) Stalling() bool { return l.stalling }

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
		if l.failing.IsZero() {
			l.failing = now
		}
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
	for _, t := range []*time.Time{&l.asked, &l.quiet, &l.dialed, &l.failing} {
		if !t.IsZero() {
			*t = t.Add(late)
		}
	}
}

// judge raises the state as far as time justifies.
func (l *Liveness) judge(now time.Time) {
	if l.cfg.Mute {
		if !l.failing.IsZero() && now.Sub(l.failing) >= l.cfg.limit(l.rtt, l.hinted) {
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
	l.stalling = l.opinion && now.Sub(l.quiet) >= l.cfg.window() || l.heard() && now.Sub(l.asked) >= l.cfg.window()
	switch {
	case now.Sub(l.asked) >= max(l.cfg.StallAfter, l.cfg.window()):
		if l.opinion || l.heard() {
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

// heard reports whether the peer gave signs of life since it was asked.
func (l *Liveness) heard() bool { return l.quiet.After(l.asked) }

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
	l.opinion, l.stalling, l.confirm = false, false, retryHandshake
}

// Answered takes the answer to the request in flight.
func (l *Liveness) Answered(now time.Time) {
	if l.asked.IsZero() || l.state == Dead {
		return
	}
	l.rtt.Sample(now.Sub(l.asked))
	at := l.asked.Add(l.interval())
	l.asked, l.quiet = time.Time{}, time.Time{}
	l.state, l.opinion, l.stalling = Alive, false, false
	l.dialAt = time.Time{}
	l.backoff = retryHandshake
	// A pause of a round trip, so that slow answers are not asked for without
	// end (RFC 6520, Section 5.2, SHOULD).
	l.askAt = later(at, now.Add(min(l.rtt.Mean(), l.cfg.Interval/2)))
	l.plan()
}

// Limits are how long a request may stay unanswered by a peer of which nothing
// is heard, and by one that lives.
func (l *Liveness) Limits() (window, stall time.Duration) {
	return l.cfg.window(), max(l.cfg.StallAfter, l.cfg.window())
}

// Overdue reports whether the request in flight is unanswered for so long that
// a peer of which nothing is heard would be Dead, though this one is.
func (l *Liveness) Overdue(now time.Time) bool {
	return l.state != Dead && !l.asked.IsZero() && l.heard() && now.Sub(l.asked) >= l.cfg.window() && now.Sub(l.quiet) < l.cfg.window()
}

// Partly takes what shows that the peer answers for a part of what it was asked
// for: it is no stalled one, and is asked again.
func (l *Liveness) Partly(now time.Time) {
	if l.asked.IsZero() || l.state == Dead {
		return
	}
	l.asked, l.quiet, l.dialAt = time.Time{}, time.Time{}, time.Time{}
	l.state, l.opinion, l.stalling = Alive, false, false
	l.askAt = now.Add(l.interval())
	l.plan()
}

// Heard takes any other authentic record of the peer: it lives, although the
// answer is not there.
func (l *Liveness) Heard(now time.Time) {
	if l.state == Dead || l.asked.IsZero() {
		return
	}
	l.quiet = now
	l.stalling = l.heard() && now.Sub(l.asked) >= l.cfg.window()
	if l.state == Suspect && !l.opinion {
		l.state, l.dialAt = Alive, time.Time{}
	}
	l.plan()
}

// Hint takes a sign that the peer cannot be reached which anybody can forge
// (ICMP): the peer is asked at once, nothing more.
func (l *Liveness) Hint(now time.Time) {
	if l.state == Dead {
		return
	}
	if l.cfg.Mute {
		l.hinted, l.state = true, Suspect
		if l.dialed.IsZero() {
			// Each handshake that disproves a hint doubles the wait.
			l.dialAt = sooner(l.dialAt, later(now, l.lastDial.Add(l.backoff)))
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
	began := l.dialed
	l.dialed = time.Time{}
	switch {
	case l.cfg.Mute && ok:
		if !began.IsZero() {
			l.rtt.Sample(now.Sub(began))
		}
		if l.hinted {
			l.backoff = min(2*l.backoff, maxHandshakeBackoff)
		} else {
			l.backoff = retryHandshake
		}
		l.state, l.cfg.Proven, l.hinted = Alive, true, false
		l.failing = time.Time{}
		l.schedule(now)
	case l.cfg.Mute:
		l.state = Suspect
		l.dialAt = later(now, l.lastDial.Add(l.spread(maxConfirm)))
	case l.asked.IsZero():
		// Answered meanwhile.
	case ok:
		l.opinion = true
		l.dialAt = now.Add(l.confirm)
		l.confirm = min(2*l.confirm, maxConfirm)
	case l.opinion:
		l.die(Silent)
	case l.state == Suspect:
		l.dialAt = now.Add(retryHandshake)
	}
	l.plan()
}

// Dialing reports whether a Handshake is awaited.
func (l *Liveness) Dialing() bool { return !l.dialed.IsZero() }

// Defer takes back a Handshake that could not begin: its time does not count.
func (l *Liveness) Defer(now time.Time) {
	if l.state == Dead || l.dialed.IsZero() {
		return
	}
	if l.failing.Equal(l.dialed) {
		l.failing = time.Time{}
	}
	l.dialed, l.dialAt = time.Time{}, now.Add(retryHandshake)
	l.plan()
}

// Silence makes the peer one without heartbeat: it turned out to answer none.
func (l *Liveness) Silence(now time.Time) {
	if l.state == Dead || l.cfg.Mute {
		return
	}
	l.cfg.Mute = true
	l.asked, l.quiet, l.askAt = time.Time{}, time.Time{}, time.Time{}
	l.state, l.opinion, l.stalling, l.failing, l.rtt = Alive, false, false, l.dialed, RTT{}
	l.schedule(now)
	l.plan()
}

// schedule sets the next request, or handshake, of an idle peer.
func (l *Liveness) schedule(now time.Time) {
	if !l.cfg.Mute {
		l.askAt = now.Add(l.interval())
		return
	}
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
	switch {
	case l.dialed.IsZero():
		at(l.dialAt)
	case l.opinion:
		at(l.dialed.Add(l.cfg.window()))
	}
	if l.cfg.Mute && !l.failing.IsZero() {
		at(l.failing.Add(l.cfg.limit(l.rtt, l.hinted)))
	}
	if l.asked.IsZero() {
		return
	}
	if l.state == Alive {
		at(l.quiet.Add(l.patience()))
	}
	at(l.asked.Add(max(l.cfg.StallAfter, l.cfg.window())))
	if !l.stalling {
		at(l.quiet.Add(l.cfg.window()))
		if l.heard() {
			at(l.asked.Add(l.cfg.window()))
		}
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
