package export

import (
	"errors"
	"time"

	"ipfixsuite/ipfix"
)

var errAdopt = errors.New("exporter has been used before")

// Adopt makes the Exporter, which has not been used yet, one that could stand
// in for another: it has its Templates under the same ids, its options records
// and its account of metering, so that whatever comes next can be written to
// both. It returns the Templates by those of the other.
func (e *Exporter) Adopt(o *Exporter) (map[*Template]*Template, error) {
	now := time.Now()
	type copied struct {
		d       *domain
		options []optionsRecord
		own     uint64
	}
	o.mu.Lock()
	metering, stats := o.metering, o.stats
	theirs := make(map[*ipfix.Template]*Template)
	var list []copied
	for _, d := range o.domains {
		n := e.newDomain(d.id, len(list))
		n.active = d.active.Clone(now)
		for _, p := range n.active.All() {
			theirs[p] = d.defined[p]
		}
		list = append(list, copied{n, append([]optionsRecord(nil), d.options.list...), d.options.own})
	}
	o.mu.Unlock()

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.n.handed > 0 {
		return nil, errAdopt
	}
	e.domains = nil
	clear(e.byID)
	ours := make(map[*Template]*Template)
	for _, c := range list {
		for _, p := range c.d.active.All() {
			t := newTemplate(p, c.d)
			c.d.defined[p] = t
			if was := theirs[p]; was != nil {
				ours[was] = t
			}
		}
		for _, r := range c.options {
			if t := ours[r.t]; t != nil {
				number := r.number
				c.d.options.keep(optionsRecord{t: t, data: r.data, own: r.own})
				c.d.options.list[len(c.d.options.list)-1].number = number
			}
		}
		c.d.options.own = c.own
		e.byID[c.d.id] = len(e.domains)
		e.domains = append(e.domains, c.d)
	}
	e.metering = metering
	e.stats.metering, e.stats.ignored, e.stats.notSent = ours[stats.metering], ours[stats.ignored], ours[stats.notSent]
	e.stats.off = stats.off
	return ours, nil
}
