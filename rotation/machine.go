package rotation

import "time"

// An ID names one session of a Machine; they are numbered from 1. Zero is no
// session.
type ID uint64

// state is what a place holds.
type state uint8

const (
	empty state = iota
	building
	priming
	proving
	ready // proven: to be swapped in
	active
	draining
	closing
)

// A place holds one session from the beginning of its building to the end of
// its closing.
type place struct {
	id     ID
	state  state
	asked  bool      // the owner has been given the state's Action
	began  time.Time // building
	since  time.Time // in this state
	until  time.Time // bounds the state; zero: nothing does
	cause  Cause
	full   bool
	failed bool // closing because of a fault, not in order
}

func (p *place) candidate() bool { return building <= p.state && p.state <= ready }

// A Machine decides about the sessions of one Exporting Process with one
// collector at a time. It is not safe for concurrent use.
type Machine struct {
	cfg    Config
	random func() float64
	places [2]place
	last   ID

	wants     [Lost + 1]bool
	notBefore time.Time // of the next building
	spaced    time.Time // the same without a backoff
	step      time.Duration
	due       time.Time // by Period
	sinceFull int       // sessions built since the last full handshake
	again     bool      // the last building failed: no resumption this time
	stopped   bool

	records, octets uint64 // carried by the active session
}

// New returns a Machine that wants a first session. random returns numbers in
// [0, 1).
func New(cfg Config, random func() float64) *Machine {
	m := &Machine{cfg: cfg.withDefaults(), random: random}
	m.wants[Lost] = true
	return m
}

// Op is what the owner has to do.
type Op uint8

const (
	// Nothing is to be done before Next, or before something is reported.
	Nothing Op = iota
	// Build a session, then report Built. Action.Full: without resumption.
	Build
	// Prime it with what it must know before any data, then report Primed.
	Prime
	// Prove that it lives, then report Proved.
	Prove
	// Swap: from now on data goes to this session, not to Action.Old (0:
	// there is none).
	Swap
	// Drain the session: wait for what it carried, then report Drained.
	Drain
	// Close it, whatever it is in the middle of, then report Closed.
	// Action.Failed: it was given up.
	Close
)

// An Action is one step for the owner to take.
type Action struct {
	Op     Op
	ID     ID
	Old    ID
	Cause  Cause // of a Build or Swap
	Full   bool
	Failed bool
}

// Advance returns what is to be done at now. The owner calls it until it
// returns Nothing.
func (m *Machine) Advance(now time.Time) Action {
	m.expire(now)
	for i := range m.places {
		if a, ok := m.ask(now, &m.places[i]); ok {
			return a
		}
	}
	return m.build(now)
}

// expire ends what takes too long.
func (m *Machine) expire(now time.Time) {
	for i := range m.places {
		p := &m.places[i]
		if p.until.IsZero() || now.Before(p.until) {
			continue
		}
		if p.state == draining {
			p.failed = true
			p.enter(closing, now, 0)
		} else {
			m.fail(now, p)
		}
	}
	if m.due.IsZero() || m.stopped || now.Before(m.due) || m.candidate() != nil {
		return
	}
	m.Want(Period) // until there is another session, whatever becomes of this wish
}

// ask hands out the Action of a place's state, once.
func (m *Machine) ask(now time.Time, p *place) (Action, bool) {
	if p.asked || p.state == empty || p.state == active {
		return Action{}, false
	}
	p.asked = true
	a := Action{ID: p.id, Cause: p.cause, Full: p.full}
	switch p.state {
	case building:
		a.Op = Build
	case priming:
		a.Op = Prime
	case proving:
		a.Op = Prove
	case ready:
		return m.swap(now, p, a), true
	case draining:
		a.Op = Drain
	case closing:
		a.Op, a.Failed = Close, p.failed
	}
	return a, true
}

// swap makes a proven session the active one.
func (m *Machine) swap(now time.Time, p *place, a Action) Action {
	if old := m.at(active); old != nil {
		a.Old = old.id
		old.enter(draining, now, m.cfg.DrainTimeout)
	}
	p.enter(active, now, 0)
	m.records, m.octets, m.step = 0, 0, 0
	m.schedule(p)
	a.Op = Swap
	return a
}

// build begins a session if one is wanted, there is room and it is time.
func (m *Machine) build(now time.Time) Action {
	cause := m.wanted()
	free := m.at(empty)
	if cause == None || free == nil || m.candidate() != nil || now.Before(m.notBefore) {
		return Action{}
	}
	clear(m.wants[:])
	m.last++
	m.spaced = now.Add(minSpacing)
	m.notBefore = m.spaced
	*free = place{id: m.last, cause: cause, full: m.full(), began: now}
	free.enter(building, now, m.cfg.BuildTimeout)
	free.asked = true
	return Action{Op: Build, ID: free.id, Cause: cause, Full: free.full}
}

// full tells whether the next session must not resume.
func (m *Machine) full() bool {
	return m.last == 1 || m.again || m.cfg.FullEvery > 0 && m.sinceFull+1 >= m.cfg.FullEvery
}

func (m *Machine) wanted() Cause {
	for c := Lost; c > None; c-- {
		if m.wants[c] && (c >= Suspicion || !m.stopped) {
			return c
		}
	}
	return None
}

func (p *place) enter(s state, now time.Time, within time.Duration) {
	p.state, p.asked, p.since, p.until = s, false, now, time.Time{}
	if within > 0 {
		p.until = now.Add(within)
	}
}

func (m *Machine) at(s state) *place {
	for i := range m.places {
		if m.places[i].state == s {
			return &m.places[i]
		}
	}
	return nil
}

func (m *Machine) candidate() *place {
	for i := range m.places {
		if m.places[i].candidate() {
			return &m.places[i]
		}
	}
	return nil
}

// in returns the place of a session if it is in that state: reports about
// what is over already change nothing.
func (m *Machine) in(id ID, s state) *place {
	for i := range m.places {
		if p := &m.places[i]; p.id == id && p.state == s && p.asked {
			return p
		}
	}
	return nil
}

// Next is when Advance must be called at the latest; zero means that only a
// report changes anything.
func (m *Machine) Next() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for i := range m.places {
		p := &m.places[i]
		sooner(p.until)
		if p.state != empty && p.state != active && !p.asked {
			sooner(p.since)
		}
	}
	if !m.stopped && m.candidate() == nil && !m.wants[Period] {
		sooner(m.due)
	}
	if m.wanted() != None && m.at(empty) != nil && m.candidate() == nil {
		if m.notBefore.IsZero() {
			sooner(time.Unix(0, 0)) // at once
		}
		sooner(m.notBefore)
	}
	return next
}

// Active is the session that carries data; 0: there is none.
func (m *Machine) Active() ID {
	if p := m.at(active); p != nil {
		return p.id
	}
	return 0
}

// Candidate is the session that is to be the next, and why; 0: there is none.
func (m *Machine) Candidate() (ID, Cause) {
	if p := m.candidate(); p != nil {
		return p.id, p.cause
	}
	return 0, None
}
