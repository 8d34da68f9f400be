package templates

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	// firstID and lastID bound the ids of Templates and Options Templates
	// (RFC 7011, Section 3.4.1).
	firstID = 256
	lastID  = 65535

	// DefaultRefresh is the time between retransmissions of a Template on a
	// transport that may lose it.
	DefaultRefresh = time.Minute
	// reuseFactor: on UDP an id is free again after this many
	// retransmission delays (RFC 7011, Section 8.4).
	reuseFactor = 3
)

// ErrExhausted is what Define returns when every id is in use or still held
// back after its Template was withdrawn.
var ErrExhausted = errors.New("no template id is free")

// ErrUnknown is returned for an id that no Template bears.
var ErrUnknown = errors.New("no such template")

// ActiveConfig sets the bounds of an Active. Its zero value works.
type ActiveConfig struct {
	// ReuseAfter is how long the id of a withdrawn Template stays unused;
	// 0: three times DefaultRefresh. Give three times the refresh interval
	// where that is another (RFC 7011, Section 8.4).
	ReuseAfter time.Duration
	// Max bounds the Templates defined at one time; 0: as many as there are ids.
	Max int
	// Reserved are the highest ids, so many, that Define does not give away.
	Reserved int
}

// Active holds the Templates that one Exporting Process defines for one
// Observation Domain. The ids hold in all its Transport Sessions, so that a
// message may go to any of them, or to a second one when the first failed.
// What a session has been told already is the matter of a Schedule.
//
// A Template lives in three steps: Define makes it; Retire takes its shape
// back while data described by it may still be under way; Withdraw ends it
// and holds its id back for a while. An Active is not safe for concurrent use.
type Active struct {
	cfg     ActiveConfig
	byShape map[string]*ipfix.Template
	byID    map[uint16]*ipfix.Template
	order   []*ipfix.Template // as defined: a receiver sees scopes after what they name
	held    []heldID          // oldest first
	freed   []uint16          // free at once; the last is the next
	next    int               // the next id never used; > last when all were
	last    int               // the highest id to give away
	version uint64
	shape   []byte // scratch
}

type heldID struct {
	id    uint16
	until time.Time
}

// NewActive returns an Active without Templates.
func NewActive(cfg ActiveConfig) *Active {
	if cfg.ReuseAfter <= 0 {
		cfg.ReuseAfter = reuseFactor * DefaultRefresh
	}
	last := lastID - max(cfg.Reserved, 0)
	if cfg.Max <= 0 || cfg.Max > last-firstID+1 {
		cfg.Max = last - firstID + 1
	}
	return &Active{
		cfg:     cfg,
		byShape: make(map[string]*ipfix.Template),
		byID:    make(map[uint16]*ipfix.Template),
		next:    firstID,
		last:    last,
	}
}

// Clone returns an Active that numbers alike: it has the Templates that Define
// would return, under the same ids. Ids of those that were taken back rest as
// if they were withdrawn at now.
func (a *Active) Clone(now time.Time) *Active {
	c := NewActive(a.cfg)
	c.next, c.version, c.held, c.freed = a.next, a.version, slices.Clone(a.held), slices.Clone(a.freed)
	for _, t := range a.order {
		a.shape = appendShape(a.shape[:0], t.Scope, t.Specs(nil))
		if a.byShape[string(a.shape)] != t {
			c.held = append(c.held, heldID{id: t.ID, until: now.Add(a.cfg.ReuseAfter)})
			continue
		}
		c.byShape[string(a.shape)] = t
		c.byID[t.ID] = t
		c.order = append(c.order, t)
	}
	return c
}

// Define returns the Template of these fields, the first scope of which are
// Scope Fields (0: no Options Template). A shape that is active already
// keeps its id; a new one gets an id that is free at now.
func (a *Active) Define(now time.Time, scope int, specs []ipfix.FieldSpec, reg *ie.Registry) (*ipfix.Template, error) {
	a.shape = appendShape(a.shape[:0], scope, specs)
	if t := a.byShape[string(a.shape)]; t != nil {
		return t, nil
	}
	if len(a.byID) >= a.cfg.Max {
		return nil, fmt.Errorf("%w: %d templates are active", ErrExhausted, len(a.byID))
	}
	id := a.free(now)
	if id == 0 {
		return nil, fmt.Errorf("%w: %d are active, %d wait for reuse", ErrExhausted, len(a.byID), len(a.held))
	}
	t, err := ipfix.NewTemplate(id, scope, specs, reg)
	if err != nil {
		return nil, err
	}
	switch {
	case len(a.freed) > 0:
		a.freed = a.freed[:len(a.freed)-1]
	case int(id) == a.next:
		a.next++
	default:
		a.held = slices.Delete(a.held, 0, 1)
	}
	a.byShape[string(a.shape)] = t
	a.byID[id] = t
	a.order = append(a.order, t)
	a.version++
	return t, nil
}

// free finds an id: one that is free at once, so that few are in use, else one
// never used, else the one held back the longest.
func (a *Active) free(now time.Time) (id uint16) {
	if n := len(a.freed); n > 0 {
		return a.freed[n-1]
	}
	if a.next <= a.last {
		return uint16(a.next)
	}
	// An id that was withdrawn is not given to another Template before a
	// collector has had time to forget the first (RFC 7011, Sections 8.1 and 8.4).
	if len(a.held) > 0 && !now.Before(a.held[0].until) {
		return a.held[0].id
	}
	return 0
}

// Retire keeps Define from returning the Template again. It stays among All
// until Withdraw, for data that is on its way. It reports whether the
// Template was there.
func (a *Active) Retire(id uint16) bool {
	t := a.byID[id]
	if t == nil {
		return false
	}
	a.shape = appendShape(a.shape[:0], t.Scope, t.Specs(nil))
	if a.byShape[string(a.shape)] == t {
		delete(a.byShape, string(a.shape))
	}
	return true
}

// Withdraw ends a Template: no data described by it follows. Sessions on
// transports that take Template Withdrawals announce it (Schedule.Withdraws).
func (a *Active) Withdraw(id uint16, now time.Time) error {
	if err := a.end(id); err != nil {
		return err
	}
	a.held = append(a.held, heldID{id: id, until: now.Add(a.cfg.ReuseAfter)})
	return nil
}

// Free ends a Template as Withdraw does, but its id is the next that Define
// gives away: for who sends all that bears an id on one SCTP stream, where the
// next Template cannot overtake the withdrawal (RFC 6526, Section 4.4).
func (a *Active) Free(id uint16) error {
	if err := a.end(id); err != nil {
		return err
	}
	a.freed = append(a.freed, id)
	return nil
}

func (a *Active) end(id uint16) error {
	t := a.byID[id]
	if t == nil {
		return fmt.Errorf("withdraw template %d: %w", id, ErrUnknown)
	}
	a.Retire(id)
	delete(a.byID, id)
	a.order = slices.DeleteFunc(a.order, func(o *ipfix.Template) bool { return o == t })
	a.version++
	return nil
}

// Lookup returns the Template with this id, or nil.
func (a *Active) Lookup(id uint16) *ipfix.Template { return a.byID[id] }

// All returns the Templates in the order of their definition. The slice is
// valid until the next change.
func (a *Active) All() []*ipfix.Template { return a.order }

// Len is the number of Templates among All.
func (a *Active) Len() int { return len(a.order) }

// Version changes whenever All does.
func (a *Active) Version() uint64 { return a.version }

// appendShape writes what makes two Templates the same but for their id.
func appendShape(dst []byte, scope int, specs []ipfix.FieldSpec) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(scope))
	for _, s := range specs {
		dst = binary.BigEndian.AppendUint32(dst, s.PEN)
		dst = binary.BigEndian.AppendUint16(dst, s.Num)
		dst = binary.BigEndian.AppendUint16(dst, s.Length)
	}
	return dst
}
