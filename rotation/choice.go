package rotation

import "time"

// DefaultReturn is ChoiceConfig.Return's.
const DefaultReturn = 30 * time.Second

// maxHold bounds, in steps of Return, how long a collector that keeps failing
// is left alone.
const maxHold = 16

// ChoiceConfig describes a choice among collectors.
type ChoiceConfig struct {
	// Collectors is their number, at least 1, in order of preference.
	Collectors int
	// Return is how long a collector that failed is left alone, and how long
	// its substitute is kept at least, so that one that comes and goes is not
	// followed each time. It doubles with each failure. 0: 30 s.
	Return time.Duration
}

// A Choice picks the collector that the next session goes to: the first that
// is well. It is not safe for concurrent use.
type Choice struct {
	cfg  ChoiceConfig
	list []collector
	cur  int
	// since is when cur became active; zero: none is.
	since time.Time
}

type collector struct {
	until time.Time // left alone until then
	step  time.Duration
}

// NewChoice returns a Choice in which every collector is thought well.
func NewChoice(cfg ChoiceConfig) *Choice {
	if cfg.Return == 0 {
		cfg.Return = DefaultReturn
	}
	return &Choice{cfg: cfg, list: make([]collector, max(cfg.Collectors, 1))}
}

// Pick returns the collector to be tried now: the first that is not left
// alone; if all are, the one whose turn comes soonest.
func (p *Choice) Pick(now time.Time) int {
	best := 0
	for i := range p.list {
		if !now.Before(p.list[i].until) {
			return i
		}
		if p.list[i].until.Before(p.list[best].until) {
			best = i
		}
	}
	return best
}

// Well reports whether a collector is not left alone.
func (p *Choice) Well(now time.Time, i int) bool { return !now.Before(p.list[i].until) }

// Current is the collector of the active session; if there is none, of the
// last one.
func (p *Choice) Current() int { return p.cur }

// Opened notes that a session with a collector became active; a negative one
// is no longer among them.
func (p *Choice) Opened(now time.Time, i int) {
	if i < 0 {
		return
	}
	if i != p.cur || p.since.IsZero() {
		p.since = now
	}
	p.cur = i
	p.list[i].until = time.Time{}
}

// Failed notes that a session with a collector was lost, or could not be had.
func (p *Choice) Failed(now time.Time, i int) {
	if i < 0 {
		return
	}
	c := &p.list[i]
	if i == p.cur && !p.since.IsZero() && now.Sub(p.since) >= p.cfg.Return {
		c.step = 0 // it was well for long
	}
	c.step = min(max(2*c.step, p.cfg.Return), maxHold*p.cfg.Return)
	c.until = now.Add(c.step)
}

// ReturnAt is when a collector before the current one deserves a try; zero:
// there is none.
func (p *Choice) ReturnAt() time.Time {
	var at time.Time
	for _, c := range p.list[:p.cur] {
		if at.IsZero() || c.until.Before(at) {
			at = c.until
		}
	}
	if p.cur > 0 && !p.since.IsZero() {
		if kept := p.since.Add(p.cfg.Return); at.Before(kept) {
			at = kept
		}
	}
	return at
}
