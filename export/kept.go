package export

import (
	"slices"
	"sort"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/rotation"
)

// kept holds what a session sent and nobody has confirmed yet: the confirmed
// window. Should the session die, it is sent again on the next one. It is a
// ring, owned by the loop.
type kept struct {
	ring   []keptMessage
	head   int
	n      int
	octets int
	heard  uint64 // the fate of messages up to this number is known
}

type keptMessage struct {
	m   *message
	end uint64 // the session's octets when it had gone, its stream's on a Laned one
	at  time.Time
	// no is the session's number for it, and fate what became of it there,
	// where the transport tells.
	no   uint64
	fate fate
	from rotation.ID // the session that handed it on; 0: it was sent on this one
}

func (k *kept) first() *keptMessage { return &k.ring[k.head] }

func (k *kept) last() *keptMessage { return k.at(k.n - 1) }

func (k *kept) at(i int) *keptMessage { return &k.ring[(k.head+i)%len(k.ring)] }

func (k *kept) push(m *message, end uint64, at time.Time, no uint64) {
	if k.n == len(k.ring) {
		ring := make([]keptMessage, max(64, 2*len(k.ring)))
		for i := range k.n {
			ring[i] = k.ring[(k.head+i)%len(k.ring)]
		}
		k.ring, k.head = ring, 0
	}
	k.ring[(k.head+k.n)%len(k.ring)] = keptMessage{m: m, end: end, at: at, no: no}
	k.n++
	k.octets += cap(m.buf)
}

// unshift puts a message before the first.
func (k *kept) unshift(m keptMessage) {
	if k.n == len(k.ring) {
		k.push(m.m, m.end, m.at, m.no) // for the room
		k.popLast()
	}
	k.head = (k.head + len(k.ring) - 1) % len(k.ring)
	k.ring[k.head] = m
	k.n++
	k.octets += cap(m.m.buf)
}

func (k *kept) pop() *message {
	m := k.ring[k.head].m
	k.ring[k.head] = keptMessage{}
	k.head = (k.head + 1) % len(k.ring)
	k.n--
	k.octets -= cap(m.buf)
	return m
}

func (k *kept) popLast() *message {
	i := (k.head + k.n - 1) % len(k.ring)
	m := k.ring[i].m
	k.ring[i] = keptMessage{}
	k.n--
	k.octets -= cap(m.buf)
	return m
}

// unheard is when the first message was sent whose fate is not known.
func (k *kept) unheard() (at time.Time, ok bool) {
	for i := sort.Search(k.n, func(i int) bool { return k.at(i).no > k.heard }); i < k.n; i++ {
		m := k.at(i)
		if m.fate == open && m.m.withdraw == nil {
			return m.at, true
		}
		k.heard = m.no
	}
	return at, false
}

// remove takes the i-th out.
func (k *kept) remove(i int) {
	k.octets -= cap(k.at(i).m.buf)
	for ; i < k.n-1; i++ {
		*k.at(i) = *k.at(i + 1)
	}
	*k.at(k.n - 1) = keptMessage{}
	k.n--
}

// extract removes the messages that take has, in their order.
func (k *kept) extract(take func(*keptMessage) bool) (out []*message) {
	for range k.n {
		m := *k.first()
		k.pop()
		if take(&m) {
			out = append(out, m.m)
			continue
		}
		k.ring[(k.head+k.n)%len(k.ring)] = m
		k.n++
		k.octets += cap(m.m.buf)
	}
	return out
}

// keep takes a message that was sent on the session into its window.
// Exporter.mu is held.
func (e *Exporter) keep(s *session, m *message, now time.Time) {
	if !s.keeps(&e.cfg) {
		e.done(m, now)
		return
	}
	if s.laned != nil {
		f := s.flow(s.streamOf(m))
		f.kept += cap(m.buf)
		s.kept.push(m, f.octets, now, s.messages)
		return // pick sees to the bound
	}
	s.kept.push(m, s.octets, now, s.messages)
	for s.kept.octets > e.cfg.RetainBytes {
		if s.canProbe && s.kept.first().m.pos != (spool.Position{}) {
			return // what was spooled is confirmed, or sent again
		}
		was := s.kept.first().fate
		if old := s.kept.pop(); old.withdraw != nil {
			e.done(old, now)
		} else if was == lost && !s.mayLose(old) {
			e.miss(s, old, now) // has a bound of its own
		} else {
			e.n.unkept += uint64(old.records)
			e.done(old, now)
		}
	}
}

// keeps reports whether anything sent on the session is kept at all.
func (s *session) keeps(cfg *Config) bool {
	return s.canProbe || cfg.Retain > 0
}

// confirm lets go of what the collector has, or must have by now.
func (e *Exporter) confirm(s *session, now time.Time) {
	if s.kept.n == 0 && s.laned == nil {
		return
	}
	s.learn()
	old := now.Add(-e.cfg.Retain)
	if !s.doubted.IsZero() && s.doubted.Before(old) {
		old = s.doubted
	}
	if !s.canProbe && s.tracker != nil {
		// Age proves nothing of what was sent shortly before something that
		// stays unacknowledged: it may have been taken by a process that died.
		if at, ok := s.kept.unheard(); ok && at.Add(-e.cfg.Retain).Before(old) {
			old = at.Add(-e.cfg.Retain)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.laned != nil {
		e.settle(s, now)
		return
	}
	for s.kept.n > 0 {
		k := s.kept.first()
		if s.canProbe {
			// An answered probe is proof, whatever the time.
			if !s.proves(k) {
				return
			}
		} else if k.at.After(old) {
			return
		}
		if s.tracker != nil && k.m.withdraw == nil {
			switch k.fate {
			case arrived:
			case lost:
				if s.mayLose(k.m) {
					e.giveUpOn(s.kept.pop(), now)
				} else {
					e.miss(s, s.kept.pop(), now)
				}
				continue
			case open:
				if !s.props.Reliable || !s.canProbe {
					return
				}
			}
		}
		e.done(s.kept.pop(), now)
	}
}

// bequeath hands what a replaced session sent within the last Retain, and no
// probe can confirm, to the session in its place: should the collector turn out
// to have been killed meanwhile, it has taken these and perhaps not written
// them. They are let go by their age there, too. If the session in its place is
// lost already they are sent again at once.
func (e *Exporter) bequeath(s *session, now time.Time) {
	heir := e.loop.cur
	if s.canProbe || s.laned != nil || heir != nil && (heir.canProbe || heir.laned != nil) {
		return
	}
	e.confirm(s, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	// The rest is of no use, or sent again in any case.
	taken := func(k *keptMessage) bool {
		return k.m.withdraw == nil && (s.tracker == nil || k.fate == arrived || k.fate == open && s.mayLose(k.m))
	}
	if heir == nil || heir.over {
		e.again(s.kept.extract(taken)...)
		return
	}
	for i := s.kept.n - 1; i >= 0; i-- {
		if k := *s.kept.at(i); taken(&k) {
			if k.from == 0 {
				k.from = s.id
			}
			e.inherit(heir, k)
			s.kept.remove(i)
		}
	}
}

// inherit puts what another session has sent before what this one has.
// Exporter.mu is held.
func (e *Exporter) inherit(heir *session, k keptMessage) {
	if heir.kept.octets+cap(k.m.buf) > e.cfg.RetainBytes {
		e.n.unkept += uint64(k.m.records)
		e.done(k.m, k.at)
		return
	}
	k.end, k.no, k.fate = 0, 0, arrived
	heir.kept.unshift(k)
}

// disinherit puts what a session, or one before it, has handed on and is still
// kept back in front of the queue.
func (e *Exporter) disinherit(from rotation.ID, now time.Time) (records uint64) {
	for _, s := range []*session{e.loop.cur, e.loop.old} {
		if s == nil || s.over {
			continue
		}
		e.confirm(s, now)
		e.mu.Lock()
		records += e.again(s.kept.extract(func(k *keptMessage) bool { return k.from != 0 && k.from <= from })...)
		e.mu.Unlock()
	}
	return records
}

// doubt notes that a session without probes may be dead: time proves nothing
// from here on, nor for the last Retain before.
func (s *session) doubt(now time.Time, cfg *Config) {
	if s.doubted.IsZero() {
		s.doubted = now.Add(-cfg.Retain)
	}
}

// replay puts what the session has not been confirmed back in front of the
// queue. Its gaps have been told; the records are on their way a second time.
func (e *Exporter) replay(s *session, now time.Time) (records uint64) {
	e.confirm(s, now)
	e.mu.Lock()
	defer e.mu.Unlock()
	for s.kept.n > 0 {
		if k := s.kept.at(s.kept.n - 1); k.fate == lost && s.mayLose(k.m) {
			e.giveUpOn(s.kept.popLast(), now)
			continue
		}
		records += e.again(s.kept.popLast())
	}
	records += e.again(s.missed...)
	s.missed, s.missedOctets = nil, 0
	return records
}

// again puts messages back in front of the queue. Exporter.mu is held.
func (e *Exporter) again(messages ...*message) (records uint64) {
	for _, m := range slices.Backward(messages) {
		if m.withdraw == nil {
			m.gap, m.replay = 0, true
			records += uint64(m.records)
		}
		e.queue.pushFront(m)
	}
	return records
}

// giveUpOn lets go of a message that the transport has given up because it was
// allowed to: the Sequence Numbers show the gap (RFC 7011, Section 10.2.2,
// MUST). Exporter.mu is held.
func (e *Exporter) giveUpOn(m *message, now time.Time) {
	e.n.givenUp += uint64(m.records)
	e.done(m, now)
}

// done ends a message's life: it was sent for good, or counted as dropped.
// Exporter.mu is held.
func (e *Exporter) done(m *message, now time.Time) {
	if t := m.withdraw; t != nil && m.dom.lanes == nil {
		// The Template had to last as long as data that it describes might
		// have to be sent again; now its id comes to rest.
		if err := m.dom.active.Withdraw(t.ID, now); err != nil {
			e.cfg.Log.Error("template withdrawn twice", "domain", m.dom.id, "template", t.ID)
		}
		delete(m.dom.defined, t.Template)
	}
	if (m.pos != spool.Position{}) {
		e.acknowledge(m.pos)
	}
	e.queue.put(m)
}
