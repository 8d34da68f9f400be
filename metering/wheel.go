package metering

import "math/bits"

const (
	// wheelSlots times tick is how far ahead deadlines are told apart; what
	// lies beyond waits in the last slot and is looked at again.
	wheelSlots = 1 << 10
	tickShift  = 28 // a tick is 2^28 ns, a good quarter of a second
)

// wheel queues flow numbers by deadline, in doubly linked lists through the
// flows. It is lazy: a packet never moves its flow; a flow that comes up early
// is queued again, so the lists cost nothing per packet.
type wheel struct {
	head, tail [wheelSlots]uint32
	busy       [wheelSlots / 64]uint64 // bit per slot: list not empty
	tick       int64                   // slots before this tick are done
}

func (w *wheel) reset(now int64) {
	for i := range w.head {
		w.head[i], w.tail[i] = none, none
	}
	w.busy = [wheelSlots / 64]uint64{}
	w.tick = now >> tickShift
}

func (w *wheel) push(t *table, n uint32, f *Flow, deadline int64) {
	tick := min(max(deadline>>tickShift, w.tick), w.tick+wheelSlots-2)
	slot := uint16(tick & slotMask)
	f.slot = f.slot&^slotMask | slot
	f.next, f.prev = none, w.tail[slot]
	if f.prev == none {
		w.head[slot] = n
	} else {
		t.at(f.prev).next = n
	}
	w.tail[slot] = n
	w.busy[slot/64] |= 1 << (slot % 64)
}

func (w *wheel) unlink(t *table, f *Flow) {
	slot := f.slot & slotMask
	if f.prev == none {
		w.head[slot] = f.next
	} else {
		t.at(f.prev).next = f.next
	}
	if f.next == none {
		w.tail[slot] = f.prev
	} else {
		t.at(f.next).prev = f.prev
	}
	if w.head[slot] == none {
		w.busy[slot/64] &^= 1 << (slot % 64)
	}
}

// detach empties the slot of a tick and returns its list's head.
func (w *wheel) detach(tick int64) uint32 {
	slot := tick & slotMask
	n := w.head[slot]
	w.head[slot], w.tail[slot] = none, none
	w.busy[slot/64] &^= 1 << (slot % 64)
	return n
}

// first is the head of the earliest list that is not empty, and its tick.
func (w *wheel) first() (uint32, int64) {
	start := uint64(w.tick) & slotMask
	for i := range uint64(wheelSlots/64 + 1) {
		word := (start/64 + i) % (wheelSlots / 64)
		b := w.busy[word]
		switch i {
		case 0:
			b &= ^uint64(0) << (start % 64)
		case wheelSlots / 64:
			b &= 1<<(start%64) - 1
		}
		if b != 0 {
			slot := word*64 + uint64(bits.TrailingZeros64(b))
			return w.head[slot], w.tick + int64((slot-start)&slotMask)
		}
	}
	return none, 0
}
