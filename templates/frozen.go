package templates

import "ipfixsuite/ipfix"

// Frozen returns Lookup as it is now: whatever comes later changes nothing in
// it, and every goroutine may call it. While the Templates stay as they are, so
// does what it returns.
func (d *Domain) Frozen() func(id uint16) *ipfix.Template {
	if d.frozen == nil {
		byID := make(map[uint16]*ipfix.Template, len(d.entries))
		for i := range d.entries {
			byID[d.entries[i].id] = d.entries[i].template
		}
		d.frozen = func(id uint16) *ipfix.Template { return byID[id] }
	}
	return d.frozen
}

// changed forgets what was derived from the entries.
func (d *Domain) changed() { d.last, d.frozen = entry{}, nil }
