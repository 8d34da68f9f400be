package templates

import "sync/atomic"

// Limits bound what peers can make Stores remember. In StoreConfig and
// NewBudget 0 means the default, negative none at all.
type Limits struct {
	Domains   int `json:"domains"` // Observation Domains
	Templates int `json:"templates"`
	Fields    int `json:"fields"`    // of all Templates together
	HeldSets  int `json:"heldSets"`  // data sets that wait for their Template
	HeldBytes int `json:"heldBytes"` // octets of those
}

// SessionLimits are the defaults for one Transport Session: more than any
// exporter known needs.
var SessionLimits = Limits{Domains: 256, Templates: 4096, Fields: 1 << 16, HeldSets: 1024, HeldBytes: 1 << 20}

// TotalLimits are the defaults for all sessions of a process: some 120 MiB at
// worst.
var TotalLimits = Limits{Domains: 1 << 16, Templates: 1 << 16, Fields: 1 << 21, HeldSets: 1 << 16, HeldBytes: 64 << 20}

// guaranteed is what every session may have however much the others took. The
// number of sessions is bounded by the transports, so this is too.
var guaranteed = usage{4, 64, 2048, 16, 16 << 10}

type resource int

const (
	resDomains resource = iota
	resTemplates
	resFields
	resSets
	resBytes
	resources
)

type usage [resources]int

func (l Limits) usage(defaults Limits) usage {
	u := usage{l.Domains, l.Templates, l.Fields, l.HeldSets, l.HeldBytes}
	d := usage{defaults.Domains, defaults.Templates, defaults.Fields, defaults.HeldSets, defaults.HeldBytes}
	for i, n := range u {
		switch {
		case n == 0:
			u[i] = d[i]
		case n < 0:
			u[i] = 0
		}
	}
	return u
}

// A Budget bounds all the Stores that share it. Each Store has a small share
// of its own, so that one exporter's flood leaves the others room. It may be
// used by several goroutines at a time.
type Budget struct {
	limit   usage
	used    [resources]atomic.Int64
	refused atomic.Uint64
}

// NewBudget returns a Budget for all Stores together.
func NewBudget(l Limits) *Budget { return &Budget{limit: l.usage(TotalLimits)} }

// Used is what the Stores took beyond their own shares.
func (b *Budget) Used() Limits {
	var u usage
	for i := range u {
		u[i] = int(b.used[i].Load())
	}
	return Limits{u[resDomains], u[resTemplates], u[resFields], u[resSets], u[resBytes]}
}

// Refused counts how often there was nothing left.
func (b *Budget) Refused() uint64 { return b.refused.Load() }

func (b *Budget) take(r resource, n int) bool {
	if b.used[r].Add(int64(n)) > int64(b.limit[r]) {
		b.used[r].Add(int64(-n))
		b.refused.Add(1)
		return false
	}
	return true
}

// take asks for n more of r, for the session and in all.
func (s *Store) take(r resource, n int) bool {
	if s.used[r]+n > s.limit[r] {
		return false
	}
	if more := beyond(r, s.used[r]+n) - beyond(r, s.used[r]); more > 0 && !s.budget.take(r, more) {
		return false
	}
	s.used[r] += n
	return true
}

func (s *Store) give(r resource, n int) {
	if less := beyond(r, s.used[r]) - beyond(r, s.used[r]-n); less > 0 {
		s.budget.used[r].Add(int64(-less))
	}
	s.used[r] -= n
}

// beyond is what of n is not covered by a session's own share.
func beyond(r resource, n int) int { return max(0, n-guaranteed[r]) }
