package ie

import (
	"cmp"
	"iter"
	"slices"
)

// Learnt yields the elements that this overlay learnt from its peer and still
// believes, by enterprise and number; Learn takes them in again elsewhere.
func (r *Registry) Learnt() iter.Seq[Element] {
	return func(yield func(Element) bool) {
		if r == nil {
			return
		}
		r.mu.RLock()
		var own []Element
		for id, believed := range r.learnt {
			if e := r.ids[id]; believed && e != nil {
				own = append(own, *e)
			}
		}
		r.mu.RUnlock()
		slices.SortFunc(own, func(a, b Element) int { return cmp.Or(cmp.Compare(a.PEN, b.PEN), cmp.Compare(a.Num, b.Num)) })
		for _, e := range own {
			if !yield(e) {
				return
			}
		}
	}
}
