package templates

import (
	"iter"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	// DefaultLifetime is how long a Template lives without being sent again
	// on an unreliable transport: templateLifeTime of RFC 6728, Section
	// 4.3.2.
	DefaultLifetime = 30 * time.Minute
	// DefaultHeldAge is how long a data set waits for its Template.
	DefaultHeldAge = 2 * time.Minute
	// lifetimeFactor: a Template lives at least so many of the intervals at
	// which it is seen to be sent (RFC 7011, Section 8.4, SHOULD).
	lifetimeFactor = 3
	// maxLifetime bounds what an exporter's silence can make of that.
	maxLifetime = 24 * time.Hour
	// reorder is how far back an Export Time is taken for a sign of a
	// message overtaken by a newer one.
	reorder = 60
	// sweepEvery is the coarseness of lifetimes.
	sweepEvery = 5 * time.Second
)

// StoreConfig sets the rules of a Store. Its zero value is that of an
// unreliable transport.
type StoreConfig struct {
	// Registry gives the elements their names and types; nil knows none.
	Registry *ie.Registry
	// Reliable: the transport delivers all Templates, once and in order. Then
	// they do not expire and can be withdrawn (RFC 7011, Section 8.1);
	// otherwise Section 8.4 holds.
	Reliable bool
	// Lifetime of a Template on an unreliable transport; 0: DefaultLifetime,
	// negative: no end.
	Lifetime time.Duration
	// HeldAge is how long data sets wait; 0: DefaultHeldAge.
	HeldAge time.Duration
	// Limits bound the session.
	Limits Limits
}

// StoreStats counts what a Store did. The last group is its present size.
type StoreStats struct {
	Defined            uint64 `json:"defined"`
	Refreshed          uint64 `json:"refreshed"` // the same again
	Redefined          uint64 `json:"redefined"` // an id with other fields
	Stale              uint64 `json:"stale"`     // older definitions that came late
	Withdrawn          uint64 `json:"withdrawn"`
	WithdrawalsIgnored uint64 `json:"withdrawalsIgnored"` // on an unreliable transport
	WithdrawalsUnknown uint64 `json:"withdrawalsUnknown"` // of what was not defined
	Invalid            uint64 `json:"invalid"`            // template records that make no sense
	Refused            uint64 `json:"refused"`            // templates beyond the bounds
	Evicted            uint64 `json:"evicted"`            // templates that made room
	Expired            uint64 `json:"expired"`            // templates not sent again in time
	Restored           uint64 `json:"restored"`           // templates kept over a restart
	Learnt             uint64 `json:"learnt"`             // element types (RFC 5610)
	TypesRefused       uint64 `json:"typesRefused"`
	SetsHeld           uint64 `json:"setsHeld"`
	SetsReleased       uint64 `json:"setsReleased"`
	SetsExpired        uint64 `json:"setsExpired"`
	SetsRefused        uint64 `json:"setsRefused"` // beyond the bounds
	DomainsRefused     uint64 `json:"domainsRefused"`

	Domains   int `json:"domains"`
	Templates int `json:"templates"`
	Fields    int `json:"fields"`
	HeldSets  int `json:"heldSets"`
	HeldBytes int `json:"heldBytes"`
}

// A Store keeps what an exporter defined in one Transport Session. It is not
// safe for concurrent use.
type Store struct {
	cfg     StoreConfig
	budget  *Budget
	limit   usage
	used    usage
	domains map[uint32]*Domain
	last    *Domain
	reader  ipfix.TemplateReader
	specs   []ipfix.FieldSpec
	sweep   time.Time // when lifetimes are to be looked at next
	stats   StoreStats
}

// NewStore returns the empty Store of a session. A nil budget bounds this
// Store alone.
func NewStore(cfg StoreConfig, budget *Budget) *Store {
	if budget == nil {
		budget = NewBudget(Limits{})
	}
	switch {
	case cfg.Reliable || cfg.Lifetime < 0:
		cfg.Lifetime = 0
	case cfg.Lifetime == 0:
		cfg.Lifetime = DefaultLifetime
	}
	if cfg.HeldAge <= 0 {
		cfg.HeldAge = DefaultHeldAge
	}
	return &Store{
		cfg: cfg, budget: budget,
		limit:   cfg.Limits.usage(SessionLimits),
		domains: make(map[uint32]*Domain),
	}
}

// Domain returns the state of an Observation Domain, a new one if need be; nil
// when the bounds allow no more.
func (s *Store) Domain(id uint32) *Domain {
	if d := s.last; d != nil && d.id == id {
		return d
	}
	d := s.domains[id]
	if d == nil {
		if !s.take(resDomains, 1) {
			s.stats.DomainsRefused++
			return nil
		}
		d = &Domain{store: s, id: id}
		s.domains[id] = d
	}
	s.last = d
	return d
}

// Lookup returns the Template with this id in a domain, or nil.
func (s *Store) Lookup(domain uint32, id uint16) *ipfix.Template {
	if d := s.last; d != nil && d.id == domain {
		return d.Lookup(id)
	}
	if d := s.domains[domain]; d != nil {
		return d.Lookup(id)
	}
	return nil
}

// All walks all Templates, by domain in no order, then by id.
func (s *Store) All() iter.Seq2[uint32, *ipfix.Template] {
	return func(yield func(uint32, *ipfix.Template) bool) {
		for id, d := range s.domains {
			for i := range d.entries {
				if !yield(id, d.entries[i].template) {
					return
				}
			}
		}
	}
}

// Advance ends what is too old at now: Templates of an unreliable transport
// that were not sent again (RFC 7011, Section 8.4), and held data sets, which
// are given to expired, if not nil, for the last time.
func (s *Store) Advance(now time.Time, expired func(*Domain, Held)) {
	if wait := s.sweep.Sub(now); 0 < wait && wait <= sweepEvery {
		return
	}
	s.sweep = now.Add(sweepEvery)
	for _, d := range s.domains {
		d.expireHeld(now.Add(-s.cfg.HeldAge), expired)
		if s.cfg.Lifetime > 0 {
			d.expireTemplates(now)
		}
	}
}

// Drop forgets a domain and all it holds; dropped, if not nil, is given the
// data sets that still waited.
func (s *Store) Drop(d *Domain, dropped func(*Domain, Held)) {
	if s.domains[d.id] != d {
		return
	}
	for i := range d.held {
		d.giveUp(&d.held[i], dropped)
	}
	for i := range d.entries {
		s.giveTemplate(d.entries[i].template)
	}
	d.held, d.entries, d.last = nil, nil, entry{}
	delete(s.domains, d.id)
	s.give(resDomains, 1)
	if s.last == d {
		s.last = nil
	}
}

// Close forgets everything and returns what was taken from the Budget. The end
// of a Transport Session withdraws its Templates (RFC 7011, Section 8.1).
func (s *Store) Close(dropped func(*Domain, Held)) {
	for _, d := range s.domains {
		s.Drop(d, dropped)
	}
}

// Held is the number of data sets that wait, in all domains.
func (s *Store) Held() int { return s.used[resSets] }

// Stats returns a snapshot.
func (s *Store) Stats() StoreStats {
	st := s.stats
	st.Domains, st.Templates, st.Fields = s.used[resDomains], s.used[resTemplates], s.used[resFields]
	st.HeldSets, st.HeldBytes = s.used[resSets], s.used[resBytes]
	return st
}

// Add sums o up in st.
func (st *StoreStats) Add(o *StoreStats) {
	st.Defined += o.Defined
	st.Refreshed += o.Refreshed
	st.Redefined += o.Redefined
	st.Stale += o.Stale
	st.Withdrawn += o.Withdrawn
	st.WithdrawalsIgnored += o.WithdrawalsIgnored
	st.WithdrawalsUnknown += o.WithdrawalsUnknown
	st.Invalid += o.Invalid
	st.Refused += o.Refused
	st.Evicted += o.Evicted
	st.Expired += o.Expired
	st.Restored += o.Restored
	st.Learnt += o.Learnt
	st.TypesRefused += o.TypesRefused
	st.SetsHeld += o.SetsHeld
	st.SetsReleased += o.SetsReleased
	st.SetsExpired += o.SetsExpired
	st.SetsRefused += o.SetsRefused
	st.DomainsRefused += o.DomainsRefused
	st.Domains += o.Domains
	st.Templates += o.Templates
	st.Fields += o.Fields
	st.HeldSets += o.HeldSets
	st.HeldBytes += o.HeldBytes
}
