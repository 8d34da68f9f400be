package record

// maxWindow bounds what a replay window may cost: 8 KiB a session.
const maxWindow = 1 << 16

// window remembers which sequence numbers came (RFC 6347, Section 4.1.2.6):
// a ring of words, the word of top the newest among them. One word more than
// the size asked for lets the oldest be cleared as a whole.
type window struct {
	words []uint64 // empty: replay detection is off
	top   uint64
	any   bool
}

func newWindow(size int) window {
	if size == 0 {
		return window{}
	}
	return window{words: make([]uint64, (size+63)/64+1)}
}

// fresh reports whether seq has neither been seen nor fallen out of the window.
func (w *window) fresh(seq uint64) bool {
	n := uint64(len(w.words))
	switch {
	case n == 0 || !w.any || seq > w.top:
		return true
	case seq/64+n <= w.top/64:
		return false
	}
	return w.words[seq/64%n]&(1<<(seq%64)) == 0
}

// mark records seq, which was fresh, and reports whether it is the newest.
func (w *window) mark(seq uint64) bool {
	newest := !w.any || seq > w.top
	if n := uint64(len(w.words)); n > 0 {
		if newest && w.any {
			for i := range min(seq/64-w.top/64, n) {
				w.words[(w.top/64+1+i)%n] = 0
			}
		}
		w.words[seq/64%n] |= 1 << (seq % 64)
	}
	if newest {
		w.top, w.any = seq, true
	}
	return newest
}
