package templates

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// A Domain is what a Store knows of one Observation Domain: Templates and
// Options Templates, which share their ids (RFC 7011, Section 3.4.2.2), and
// the data sets that wait for one.
type Domain struct {
	store   *Store
	id      uint32
	last    entry   // as last looked up; no template: none
	entries []entry // by id
	hand    int     // where the search for an old entry goes on
	held    []Held  // oldest first
	learnt  *ie.Registry
	frozen  func(id uint16) *ipfix.Template // nil: to be made
}

// An entry is one Template with its times, in seconds.
type entry struct {
	template   *ipfix.Template
	seen       uint32 // when it was last received
	lifetime   uint32 // from then on
	exportTime uint32 // of the message that defined it
	id         uint16
}

// ID is the Observation Domain ID.
func (d *Domain) ID() uint32 { return d.id }

// Len is the number of Templates and Options Templates.
func (d *Domain) Len() int { return len(d.entries) }

// Held is the number of data sets that wait.
func (d *Domain) Held() int { return len(d.held) }

// Lookup returns the Template with this id, or nil. A Template that is defined
// again stays the same *Template while its fields do.
func (d *Domain) Lookup(id uint16) *ipfix.Template {
	if d.last.id == id {
		return d.last.template
	}
	i, ok := d.find(id)
	if !ok {
		return nil
	}
	d.last = d.entries[i]
	return d.last.template
}

// find returns where id is or belongs. Most exporters count their ids up from
// 256, so that the place can be guessed.
func (d *Domain) find(id uint16) (int, bool) {
	n := len(d.entries)
	if n == 0 {
		return 0, false
	}
	if i := int(id) - int(d.entries[0].id); 0 <= i && i < n && d.entries[i].id == id {
		return i, true
	}
	return slices.BinarySearchFunc(d.entries, id, func(e entry, id uint16) int { return int(e.id) - int(id) })
}

// Message is what a Store has to know of the message that a set was in.
type Message struct {
	Now        time.Time
	ExportTime uint32
	Sequence   uint32
	Stream     uint16
}

// A ChangeKind says what became of one template record.
type ChangeKind uint8

// What template records do.
const (
	Defined           ChangeKind = iota
	Refreshed                    // as it was already
	Redefined                    // the id stood for something else before
	Withdrawn                    // ID 2 or 3: all Templates, all Options Templates
	Stale                        // older than what is known, came late
	IgnoredWithdrawal            // on an unreliable transport
	UnknownWithdrawal            // of what is not defined
	Invalid                      // makes no sense: Err
	Refused                      // beyond the bounds: Err
)

// A Change is what one record of a template set did.
type Change struct {
	Kind     ChangeKind
	ID       uint16
	Options  bool
	Offset   int             // in the message, in octets
	Template *ipfix.Template // when Defined, Redefined or Refreshed
	Err      error           // when Invalid or Refused, or Redefined against the rules
}

var (
	errSessionTemplates = errors.New("the session's templates reach their bound")
	errNotWithdrawn     = errors.New("an id with other fields, not withdrawn before")
)

// Templates applies a Template Set or Options Template Set, record by record in
// their order (RFC 7011, Section 8.1), and tells visit of each. The rest of a
// set that cannot be framed is one last Invalid.
func (d *Domain) Templates(m Message, set ipfix.Set, visit func(Change)) {
	s := d.store
	s.reader.Reset(set.ID, set.Body)
	widest := 0
	for {
		rec, ok := s.reader.Next()
		if !ok {
			break
		}
		widest = max(widest, len(rec.Fields))
		c := Change{ID: rec.ID, Options: rec.Options, Offset: set.BodyOffset() + rec.Offset}
		switch err := rec.Check(); {
		case err != nil:
			s.stats.Invalid++
			c.Kind, c.Err = Invalid, ipfix.At(err, set.BodyOffset())
		case rec.Withdrawal():
			d.withdraw(&c)
		default:
			d.define(m, &rec, &c)
		}
		visit(c)
	}
	if err := s.reader.Err(); err != nil {
		s.stats.Invalid++
		visit(Change{Kind: Invalid, Options: set.ID == ipfix.OptionsTemplateSetID, Offset: set.BodyOffset(), Err: ipfix.At(err, set.BodyOffset())})
	}
	// One large record does not keep its room for the session's life.
	if widest > 256 {
		s.reader = ipfix.TemplateReader{}
	}
}

func (d *Domain) define(m Message, rec *ipfix.TemplateRecord, c *Change) {
	s, now := d.store, seconds(m.Now)
	i, known := d.find(rec.ID)
	if known {
		e := &d.entries[i]
		if e.template.Matches(rec.Scope, rec.Fields) {
			s.stats.Refreshed++
			e.refresh(now, s.cfg.Lifetime)
			c.Kind, c.Template = Refreshed, e.template
			return
		}
		// Template management is in the order of Export Times (RFC 7011,
		// Section 8.2, MUST), and datagrams overtake each other.
		if age := e.exportTime - m.ExportTime; !s.cfg.Reliable && age > 0 && age <= reorder {
			s.stats.Stale++
			c.Kind = Stale
			return
		}
	}
	t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, d.Registry())
	if err != nil {
		s.stats.Invalid++
		c.Kind, c.Err = Invalid, fmt.Errorf("octet %d: %w", c.Offset, err)
		return
	}
	if known {
		// Over UDP this is how an id is reused (RFC 7011, Section 8.4, MUST).
		// Elsewhere it is an error of the exporter, which forgot the
		// withdrawal (Section 8.1): what follows can only mean the newer
		// definition, so that holds there too, and Redefined tells.
		d.remove(i)
		c.Kind = Redefined
		if s.cfg.Reliable {
			c.Err = errNotWithdrawn
		}
	}
	if !d.room(t) {
		s.stats.Refused++
		c.Kind, c.Err = Refused, errSessionTemplates
		return
	}
	if c.Kind == Redefined {
		s.stats.Redefined++
	} else {
		s.stats.Defined++
	}
	c.Template = t
	i, _ = d.find(t.ID)
	d.insert(i, entry{
		template: t, id: t.ID, seen: now, lifetime: seconds32(s.cfg.Lifetime), exportTime: m.ExportTime,
	})
}

func (d *Domain) insert(i int, e entry) {
	d.entries = slices.Insert(d.entries, i, e)
	d.changed()
}

// room makes sure that t fits within the bounds. On an unreliable transport the
// Templates that have not been sent for longest give way: they come again if
// they are in use. Elsewhere they do not, and have to stay (RFC 7011, Section
// 8, MUST).
func (d *Domain) room(t *ipfix.Template) bool {
	s := d.store
	for {
		if s.take(resTemplates, 1) {
			if s.take(resFields, len(t.Fields)) {
				return true
			}
			s.give(resTemplates, 1)
		}
		if s.cfg.Reliable || len(d.entries) == 0 {
			return false
		}
		s.stats.Evicted++
		d.remove(d.oldest())
	}
}

// sample is how many Templates are compared to find one that has not been sent
// for long: a flood of definitions shall not cost a walk over all for each.
const sample = 16

// oldest returns the entry seen least recently of the next few.
func (d *Domain) oldest() int {
	n := len(d.entries)
	oldest := d.hand % n
	for i := range min(sample, n) {
		if k := (d.hand + i) % n; int32(d.entries[k].seen-d.entries[oldest].seen) < 0 {
			oldest = k
		}
	}
	d.hand = (d.hand + sample) % n
	return oldest
}

func (s *Store) giveTemplate(t *ipfix.Template) {
	s.give(resTemplates, 1)
	s.give(resFields, len(t.Fields))
}

func (d *Domain) remove(i int) {
	d.store.giveTemplate(d.entries[i].template)
	d.entries = slices.Delete(d.entries, i, i+1)
	d.changed()
}

func (d *Domain) withdraw(c *Change) {
	s := d.store
	if !s.cfg.Reliable {
		// RFC 7011, Section 8.4, MUST.
		s.stats.WithdrawalsIgnored++
		c.Kind = IgnoredWithdrawal
		return
	}
	c.Kind = Withdrawn
	if c.ID < ipfix.MinDataSetID {
		for i := len(d.entries) - 1; i >= 0; i-- {
			if d.entries[i].template.Options() == c.Options {
				s.stats.Withdrawn++
				d.remove(i)
			}
		}
		return
	}
	// Of what is not stored, or of the other kind: ignored and told
	// (RFC 7011, Section 8.1, MUST).
	i, ok := d.find(c.ID)
	if !ok || d.entries[i].template.Options() != c.Options {
		s.stats.WithdrawalsUnknown++
		c.Kind = UnknownWithdrawal
		return
	}
	s.stats.Withdrawn++
	d.remove(i)
}

func (e *entry) refresh(now uint32, lifetime time.Duration) {
	if interval := now - e.seen; lifetime > 0 && int32(interval) > 0 {
		e.lifetime = min(max(e.lifetime, lifetimeFactor*min(interval, 1<<28)), seconds32(max(lifetime, maxLifetime)))
	}
	if int32(now-e.seen) > 0 {
		e.seen = now
	}
}

func (d *Domain) expireTemplates(at time.Time) {
	now := seconds(at)
	for i := len(d.entries) - 1; i >= 0; i-- {
		e := &d.entries[i]
		if age := now - e.seen; int32(age) > 0 && age > e.lifetime {
			d.store.stats.Expired++
			d.remove(i)
		}
	}
}

func seconds(t time.Time) uint32 { return uint32(t.Unix()) }

func seconds32(d time.Duration) uint32 {
	return uint32(min((d+time.Second-1)/time.Second, 1<<31-1))
}

// Registry is what the domain's Templates are compiled with: the Store's, and
// what the exporter described itself.
func (d *Domain) Registry() *ie.Registry {
	if d.learnt != nil {
		return d.learnt
	}
	return d.store.cfg.Registry
}

// Learn takes in an element that the exporter described (RFC 5610), for this
// domain (Section 3.9, MUST), and compiles the Templates with that element
// anew. An error says why it was ignored.
func (d *Domain) Learn(e ie.Element) error {
	before := d.Registry()
	var old *ie.Element
	if before != nil {
		old = before.Lookup(e.ID)
	}
	if d.learnt == nil {
		d.learnt = ie.NewRegistry(d.store.cfg.Registry)
	}
	err := d.learnt.Learn(e)
	if err != nil {
		d.store.stats.TypesRefused++
	}
	if d.learnt.Lookup(e.ID) == old {
		return err
	}
	if err == nil {
		d.store.stats.Learnt++
	}
	return errors.Join(err, d.recompile(e.ID))
}

func (d *Domain) recompile(id ie.ID) error {
	d.changed()
	for i := range d.entries {
		t := d.entries[i].template
		if !slices.ContainsFunc(t.Fields, func(f ipfix.Field) bool { return f.ID == id }) {
			continue
		}
		d.store.specs = t.Specs(d.store.specs[:0])
		n, err := ipfix.NewTemplate(t.ID, t.Scope, d.store.specs, d.learnt)
		if err != nil {
			return err
		}
		d.entries[i].template = n
	}
	return nil
}
