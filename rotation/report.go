package rotation

import "time"

// Want asks for another session. A session under construction already
// satisfies Period, Volume and Suspicion; what may have changed since it was
// begun is not forgotten.
func (m *Machine) Want(c Cause) {
	if c <= None || c > Lost {
		return
	}
	if m.candidate() != nil && (c == Period || c == Volume || c == Suspicion) {
		return
	}
	m.wants[c] = true
}

// Forgo takes a wish back, such as Suspicion when the active session has given
// a sign of life. A session that is being built because of it goes on.
func (m *Machine) Forgo(c Cause) {
	if c > None && c < Lost {
		m.wants[c] = false
	}
}

// Carried notes what the active session took.
func (m *Machine) Carried(records, octets uint64) {
	m.records += records
	m.octets += octets
	if m.cfg.Records > 0 && m.records >= m.cfg.Records || m.cfg.Octets > 0 && m.octets >= m.cfg.Octets {
		m.Want(Volume)
	}
}

// Built reports how the building of a session ended, and whether the
// handshake was a full one.
func (m *Machine) Built(now time.Time, id ID, ok, full bool) {
	p := m.in(id, building)
	if p == nil {
		return
	}
	if !ok {
		m.fail(now, p)
		return
	}
	m.again = false
	if m.sinceFull++; full {
		m.sinceFull = 0
	}
	p.enter(priming, now, m.cfg.PrimeTimeout)
}

// Primed reports that the session has been told everything it must know.
func (m *Machine) Primed(now time.Time, id ID) {
	if p := m.in(id, priming); p != nil {
		until := p.until
		p.enter(proving, now, 0)
		p.until = until
	}
}

// Proved reports that the session lives, or that nothing can tell.
func (m *Machine) Proved(now time.Time, id ID) {
	if p := m.in(id, proving); p != nil {
		p.enter(ready, now, 0)
	}
}

// Drained reports that nothing the old session carried is outstanding.
func (m *Machine) Drained(now time.Time, id ID) {
	if p := m.in(id, draining); p != nil {
		p.enter(closing, now, 0)
	}
}

// Lost reports that a session ended, or is as good as dead.
func (m *Machine) Lost(now time.Time, id ID) {
	for i := range m.places {
		p := &m.places[i]
		if p.id != id {
			continue
		}
		switch {
		case p.candidate():
			m.fail(now, p)
		case p.state == active:
			if now.Sub(p.since) < m.cfg.Stable {
				m.backoff(now)
			}
			p.failed = true
			p.enter(closing, now, 0)
			m.due = time.Time{}
			if m.candidate() == nil {
				m.wants[Lost] = true
			}
		case p.state == draining:
			p.failed = true
			p.enter(closing, now, 0)
		}
	}
}

// Closed reports that a session is gone; only now its place is free.
func (m *Machine) Closed(_ time.Time, id ID) {
	if p := m.in(id, closing); p != nil {
		*p = place{}
	}
}

// Stop ends rotation: from now on a session is built only when there is none,
// or the one there is may be dead. A candidate that nobody waits for is given
// up.
func (m *Machine) Stop(now time.Time) {
	m.stopped = true
	if p := m.candidate(); p != nil && p.cause != Suspicion && m.at(active) != nil {
		p.failed = true
		p.enter(closing, now, 0)
	}
}

// fail gives a candidate up. What it was built for is tried again.
func (m *Machine) fail(now time.Time, p *place) {
	m.wants[p.cause] = true
	if m.at(active) == nil {
		m.wants[Lost] = true
	}
	m.again = true
	m.backoff(now)
	p.failed = true
	p.enter(closing, now, 0)
}

// Elsewhere says that the next session goes to another collector than those
// that failed: it does not have to wait for their sake. It is told again
// after each failure.
func (m *Machine) Elsewhere() { m.notBefore = m.spaced }

// NotBefore is when the next building may begin; zero: at once.
func (m *Machine) NotBefore() time.Time { return m.notBefore }

// backoff puts the next building off, longer each time until a session has
// become active.
func (m *Machine) backoff(now time.Time) {
	m.step = min(max(2*m.step, m.cfg.RetryMin), m.cfg.RetryMax)
	at := now.Add(m.step + time.Duration(m.random()*jitter*float64(m.step)))
	if at.After(m.notBefore) {
		m.notBefore = at
	}
}
