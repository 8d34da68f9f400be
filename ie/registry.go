package ie

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
)

// Limits of what an overlay takes in.
const (
	// MaxName is the longest name of an element in octets. IANA's longest has
	// 38; a name stands in every JSON line.
	MaxName = 128
	// MaxLearnt bounds the elements one registry learns from a peer.
	MaxLearnt = 4096
	// MaxLoaded bounds the elements one registry loads from files.
	MaxLoaded = 1 << 16
)

// Why an element is not taken in.
var (
	ErrKnown    = errors.New("the element is known otherwise")
	ErrConflict = errors.New("the element was described in another way before")
	ErrFull     = errors.New("too many elements")
	ErrName     = errors.New("the name cannot be used")
)

// Registry finds elements by number and by name. A Registry is an overlay: it
// has elements of its own and asks its parent for the rest; at the bottom is
// IANA's registry, which nothing overrides. The zero value and nil are empty
// overlays over it. All methods may be called concurrently.
//
// What one peer describes must not touch another's records (RFC 5610,
// Section 3.9: type records are scoped to the Transport Session): give each
// session NewRegistry of the shared one.
type Registry struct {
	parent *Registry // nil is IANA's
	mu     sync.RWMutex
	ids    map[ID]*Element
	names  map[string]*Element
	folded map[string]ID // lower-case name: nothing may look like another
	learnt map[ID]bool   // false: ignored since descriptions conflict
	loaded int
	frozen bool // IANA's own: nothing may be added
}

// NewRegistry makes an empty overlay over parent; nil is IANA().
func NewRegistry(parent *Registry) *Registry {
	if parent == IANA() {
		parent = nil
	}
	return &Registry{parent: parent}
}

// Lookup finds an element, nil if nobody knows it.
func (r *Registry) Lookup(id ID) *Element {
	if e := base().lookup(id); e != nil {
		return e
	}
	for ; r != nil; r = r.parent {
		if e := r.own(id); e != nil {
			return e
		}
	}
	return nil
}

func (r *Registry) own(id ID) *Element {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ids[id]
}

// ByName finds an element by its name, nil if nobody knows it; so it is with
// pen<PEN>.id<number>, see Resolve.
func (r *Registry) ByName(name string) *Element {
	if e := base().names[name]; e != nil {
		return e
	}
	for ; r != nil; r = r.parent {
		r.mu.RLock()
		e := r.names[name]
		r.mu.RUnlock()
		if e != nil {
			return e
		}
	}
	return nil
}

// Resolve reads a name as records bear it: that of a known element, or
// pen<PEN>.id<number>, whose element is nil if nobody knows it. The error
// names what may have been meant.
func (r *Registry) Resolve(name string) (ID, *Element, error) {
	if e := r.ByName(name); e != nil {
		return e.ID, e, nil
	}
	if id, ok := ParseUnknownName(name); ok {
		return id, r.Lookup(id), nil
	}
	return ID{}, nil, fmt.Errorf("unknown information element %q%s", clip(name), didYouMean(name, r.allNames()))
}

// Name is what records call the element id.
func (r *Registry) Name(id ID) string {
	if e := r.Lookup(id); e != nil {
		return e.Name
	}
	return UnknownName(id)
}

// All yields the elements: IANA's by number (without the reverse ones, which
// are made from these), then those of the overlays by enterprise and number.
func (r *Registry) All() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for _, e := range base().forward {
			if e != nil && !yield(e) {
				return
			}
		}
		for ; r != nil; r = r.parent {
			r.mu.RLock()
			own := make([]*Element, 0, len(r.ids))
			for _, e := range r.ids {
				own = append(own, e)
			}
			r.mu.RUnlock()
			slices.SortFunc(own, func(a, b *Element) int {
				if a.PEN != b.PEN {
					return int(int64(a.PEN) - int64(b.PEN))
				}
				return int(a.Num) - int(b.Num)
			})
			for _, e := range own {
				if !yield(e) {
					return
				}
			}
		}
	}
}

func (r *Registry) allNames() []string {
	var names []string
	for e := range r.All() {
		names = append(names, e.Name)
		if e.Reversible() {
			names = append(names, ReverseName(e.Name))
		}
	}
	return names
}

// bearer is the element that has a name which reads like name.
func (r *Registry) bearer(name string) (ID, bool) {
	name = strings.ToLower(name)
	if id, ok := base().folded[name]; ok {
		return id, true
	}
	for ; r != nil; r = r.parent {
		r.mu.RLock()
		id, ok := r.folded[name]
		r.mu.RUnlock()
		if ok {
			return id, true
		}
	}
	return ID{}, false
}

// add puts elements in. r.mu is held.
func (r *Registry) add(es ...*Element) {
	if r.ids == nil {
		r.ids = make(map[ID]*Element)
		r.names = make(map[string]*Element)
		r.folded = make(map[string]ID)
	}
	for _, e := range es {
		r.ids[e.ID] = e
		r.names[e.Name] = e
		r.folded[strings.ToLower(e.Name)] = e.ID
	}
}

// CheckName says whether an element from outside may bear the name: letters,
// digits, '_', '-', a letter first. So a name needs no quoting anywhere, and
// cannot pass for metadata (@…) or an unknown element (pen1.id2).
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %d octets, at most %d", ErrName, len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		other := c >= '0' && c <= '9' || c == '_' || c == '-'
		if !letter && (i == 0 || !other) {
			return fmt.Errorf("%w: %q at octet %d, only letters, digits, _ and - may stand there", ErrName, c, i+1)
		}
	}
	return nil
}
