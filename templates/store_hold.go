package templates

import (
	"slices"
	"time"

	"ipfixsuite/ipfix"
)

// Held is a data set that waits for its Template, with what is to be known of
// the message it was in. Body is a copy.
type Held struct {
	ID      uint16
	Message Message
	Offset  int // of the Set Header in its message
	Body    []byte
}

// Hold keeps a copy of a data set until its Template comes (RFC 7011, Sections
// 8 and 9.3), or reports that the bounds allow it not.
func (d *Domain) Hold(m Message, set ipfix.Set) bool {
	s := d.store
	if !s.take(resSets, 1) {
		s.stats.SetsRefused++
		return false
	}
	if !s.take(resBytes, len(set.Body)) {
		s.give(resSets, 1)
		s.stats.SetsRefused++
		return false
	}
	s.stats.SetsHeld++
	d.held = append(d.held, Held{ID: set.ID, Message: m, Offset: set.Offset, Body: slices.Clone(set.Body)})
	return true
}

// Release gives the data sets that waited for the Template with this id to
// visit, in the order they came in, and keeps them no longer. visit must not
// hold or release any itself.
func (d *Domain) Release(id uint16, visit func(Held)) {
	if len(d.held) == 0 {
		return
	}
	kept := d.held[:0]
	for i := range d.held {
		h := d.held[i]
		if h.ID != id {
			kept = append(kept, h)
			continue
		}
		d.give(&h)
		d.store.stats.SetsReleased++
		visit(h)
	}
	d.keep(kept)
}

// Waits reports whether a data set waits that came after one time and not
// after the other.
func (d *Domain) Waits(after, until time.Time) bool {
	for i := range d.held { // oldest first
		if at := d.held[i].Message.Now; at.After(after) {
			return !at.After(until)
		}
	}
	return false
}

func (d *Domain) expireHeld(before time.Time, expired func(*Domain, Held)) {
	if len(d.held) == 0 || !d.held[0].Message.Now.Before(before) {
		return
	}
	kept := d.held[:0]
	for i := range d.held {
		h := d.held[i]
		if !h.Message.Now.Before(before) {
			kept = append(kept, h)
			continue
		}
		d.giveUp(&h, expired)
	}
	d.keep(kept)
}

func (d *Domain) giveUp(h *Held, expired func(*Domain, Held)) {
	d.give(h)
	d.store.stats.SetsExpired++
	if expired != nil {
		expired(d, *h)
	}
}

func (d *Domain) give(h *Held) {
	d.store.give(resSets, 1)
	d.store.give(resBytes, len(h.Body))
}

func (d *Domain) keep(kept []Held) {
	clear(d.held[len(kept):])
	d.held = kept
	if len(kept) == 0 {
		d.held = nil
	}
}
