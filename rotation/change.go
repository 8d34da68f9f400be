package rotation

import "time"

// Pace changes Config.Period and FullEvery while the Machine is in use. The
// time of the active session is reckoned anew from its beginning.
func (m *Machine) Pace(period time.Duration, fullEvery int) {
	m.cfg.FullEvery = fullEvery
	if period == m.cfg.Period {
		return
	}
	m.cfg.Period = period
	m.wants[Period] = false
	m.due = time.Time{}
	if p := m.at(active); p != nil {
		m.schedule(p)
	}
}

// schedule reckons when the active session is old enough.
func (m *Machine) schedule(p *place) {
	if m.cfg.Period > 0 {
		m.due = p.began.Add(m.cfg.Period - time.Duration(m.random()*jitter*float64(m.cfg.Period)))
	}
}

// Change makes the choice one among other collectors: the new i-th was the
// from[i]-th before, or is new (-1). What is known of those that stay is kept.
func (p *Choice) Change(from []int) {
	list := make([]collector, max(len(from), 1))
	cur := -1
	for i, was := range from {
		if was < 0 || was >= len(p.list) {
			continue
		}
		list[i] = p.list[was]
		if was == p.cur {
			cur = i
		}
	}
	p.list = list
	if p.cur = max(cur, 0); cur < 0 {
		p.since = time.Time{} // none of these is active
	}
}
