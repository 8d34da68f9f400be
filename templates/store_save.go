package templates

import (
	"errors"
	"fmt"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// A SavedDomain is what a Store knows of one Observation Domain, as it can be
// kept while there is no Store: when a collector restarts and its exporter does
// not notice. Data sets that wait are not among it.
type SavedDomain struct {
	ID        uint32          `json:"id"`
	Templates []SavedTemplate `json:"templates,omitempty"`
	Types     []ie.Element    `json:"types,omitempty"` // that the exporter described (RFC 5610)
}

// A SavedTemplate is a Template with its times, in Unix seconds.
type SavedTemplate struct {
	Record     []byte `json:"record"` // as in its set (RFC 7011, Section 3.4.1 or 3.4.2.2)
	Options    bool   `json:"options,omitempty"`
	Seen       uint32 `json:"seen"`               // when it was last received
	Lifetime   uint32 `json:"lifetime,omitempty"` // from then on; 0: no end
	ExportTime uint32 `json:"exportTime"`         // of the message that defined it
}

// Expired says whether the Template's lifetime is over (RFC 7011, Section 8.4).
func (t *SavedTemplate) Expired(now time.Time) bool {
	age := seconds(now) - t.Seen
	return t.Lifetime > 0 && int32(age) > 0 && age > t.Lifetime
}

// Save returns what the Store knows, in no order of domains.
func (s *Store) Save() []SavedDomain {
	var list []SavedDomain
	for id, d := range s.domains {
		v := SavedDomain{ID: id}
		for i := range d.entries {
			e := &d.entries[i]
			v.Templates = append(v.Templates, SavedTemplate{
				Record: e.template.AppendTemplate(nil), Options: e.template.Options(),
				Seen: e.seen, Lifetime: e.lifetime, ExportTime: e.exportTime,
			})
		}
		for e := range d.learnt.Learnt() {
			v.Types = append(v.Types, e)
		}
		if len(v.Templates)+len(v.Types) > 0 {
			list = append(list, v)
		}
	}
	return list
}

var errSavedRecord = errors.New("not the one record of a template")

// Restore takes in what Save returned, and judges it as if it had come from the
// exporter: bounds, lifetimes and known elements hold. It returns the number of
// Templates that live on; an error says what makes no sense, and the rest is
// left out then.
func (s *Store) Restore(now time.Time, v SavedDomain) (n int, err error) {
	d := s.Domain(v.ID)
	if d == nil {
		return 0, errSessionTemplates
	}
	for _, e := range v.Types {
		if err := d.Learn(e); err != nil {
			return 0, fmt.Errorf("domain %d: %w", v.ID, err)
		}
	}
	for i := range v.Templates {
		kept, err := d.restore(now, &v.Templates[i])
		if err != nil {
			return n, fmt.Errorf("domain %d: template %d of %d: %w", v.ID, i+1, len(v.Templates), err)
		}
		if kept {
			n++
		}
	}
	return n, nil
}

func (d *Domain) restore(now time.Time, v *SavedTemplate) (kept bool, err error) {
	s := d.store
	set := uint16(ipfix.TemplateSetID)
	if v.Options {
		set = ipfix.OptionsTemplateSetID
	}
	s.reader.Reset(set, v.Record)
	rec, ok := s.reader.Next()
	switch {
	case !ok:
		return false, errors.Join(errSavedRecord, s.reader.Err())
	case rec.Check() != nil:
		return false, rec.Check()
	case rec.Withdrawal():
		return false, errSavedRecord
	}
	if _, known := d.find(rec.ID); known {
		return false, fmt.Errorf("%d is there already", rec.ID)
	}
	t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, d.Registry())
	if err != nil {
		return false, err
	}
	if _, more := s.reader.Next(); more || len(t.AppendTemplate(nil)) != len(v.Record) {
		return false, errSavedRecord
	}
	e := entry{template: t, id: t.ID, seen: v.Seen, exportTime: v.ExportTime}
	if int32(e.seen-seconds(now)) > 0 {
		e.seen = seconds(now) // the clock was set back
	}
	if shortest := seconds32(s.cfg.Lifetime); shortest > 0 {
		e.lifetime = min(max(v.Lifetime, shortest), max(shortest, seconds32(maxLifetime)))
	}
	saved := SavedTemplate{Seen: e.seen, Lifetime: e.lifetime}
	if saved.Expired(now) || !d.room(t) {
		return false, nil
	}
	s.stats.Restored++
	i, _ := d.find(t.ID)
	d.insert(i, e)
	return true, nil
}
