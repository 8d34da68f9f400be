package shim

// ring is a queue whose places are reused.
type ring[T any] struct {
	places []T // a power of two
	first  uint32
	n      int
}

func (r *ring[T]) len() int { return r.n }

// at is the place i behind the first; i < len.
func (r *ring[T]) at(i int) *T { return &r.places[(r.first+uint32(i))&uint32(len(r.places)-1)] }

// push adds a place and returns it as it was left when it was last used.
func (r *ring[T]) push() *T {
	if r.n == len(r.places) {
		grown := make([]T, max(16, 2*r.n))
		for i := range r.n {
			grown[i] = *r.at(i)
		}
		r.places, r.first = grown, 0
	}
	r.n++
	return r.at(r.n - 1)
}

func (r *ring[T]) pop() {
	r.first++
	r.n--
}

// unpush takes the last place back.
func (r *ring[T]) unpush() { r.n-- }
