package sim

import "time"

// event is something that happens at a time: a function, a parcel that leaves
// a link, or a node's timer.
type event struct {
	at     time.Duration
	order  uint64 // of creation: what happens at one moment keeps its order
	fn     func()
	parcel *parcel
	node   *Node
}

func (e *event) before(o *event) bool {
	return e.at < o.at || e.at == o.at && e.order < o.order
}

func (n *Net) push(e event) {
	n.order++
	e.order = n.order
	n.events.push(e)
}

// heap is a binary heap of events. container/heap would box every one.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(&s[parent]) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *heap) pop() event {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0] = s[last]
	s[last] = event{}
	s = s[:last]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(s) {
			return top
		}
		if child+1 < len(s) && s[child+1].before(&s[child]) {
			child++
		}
		if !s[child].before(&s[i]) {
			return top
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
}
