package sctp

import (
	"slices"

	"ipfixsuite/transport"
)

// maxReady bounds the fates that nobody fetches: runs of one fate are one.
const maxReady = 1 << 16

// fates turns what an association tells of its messages into what a session
// tells of its own: numbers from 1, in the order in which Send took them.
// Handshakes, heartbeats and alerts are among an association's messages and
// none of the session's.
type fates struct {
	taken  uint64   // the session's messages
	others []uint64 // positions of an association's messages that are not, ascending
	below  uint64   // how many of them were before others
	told   uint64   // the fate of the session's first so many has been told
	failed []uint64 // numbers beyond told that have been told, ascending
	ready  []transport.Fate
}

// tag is what finds the session's n-th message again; what is none of the
// session's has tag 0.
func tag(n uint64) uint32 { return uint32(n)<<1 | 1 }

// other notes a message that is not the session's, by its position among all.
func (f *fates) other(position uint64) { f.others = append(f.others, position) }

// fail tells that the message of a tag will not arrive, though nothing is known
// of others before it: who waits for the fates of all until a probe is answered
// has to know. Of a message in pieces it is called for each.
func (f *fates) fail(tag uint32) {
	const tagMask = 1<<31 - 1
	n := f.told + uint64((tag>>1-uint32(f.told))&tagMask)
	if tag&1 == 0 || n == f.told || n > f.taken {
		return // told already, or none of the session's
	}
	if i, found := slices.BinarySearch(f.failed, n); !found {
		f.failed = slices.Insert(f.failed, i, n)
		f.tell(transport.Fate{First: n, Last: n})
	}
}

// acknowledge takes that the first so many of an association's messages have
// a fate.
func (f *fates) acknowledge(messages uint64) {
	k := 0
	for k < len(f.others) && f.others[k] <= messages {
		k++
	}
	f.below += uint64(k)
	f.others = slices.Delete(f.others, 0, k)
	if messages < f.below {
		return
	}
	upTo := min(messages-f.below, f.taken)
	for f.told < upTo {
		last := upTo
		if len(f.failed) > 0 && f.failed[0] <= upTo {
			last = f.failed[0] - 1
		}
		if last > f.told {
			f.tell(transport.Fate{First: f.told + 1, Last: last, Arrived: true})
		}
		if last < upTo {
			f.failed = slices.Delete(f.failed, 0, 1)
			last++
		}
		f.told = last
	}
}

func (f *fates) tell(t transport.Fate) {
	if n := len(f.ready); n > 0 && f.ready[n-1].Arrived == t.Arrived && f.ready[n-1].Last+1 == t.First {
		f.ready[n-1].Last = t.Last
		return
	}
	if len(f.ready) < maxReady {
		f.ready = append(f.ready, t)
	}
}

// fetch appends what is new to dst.
func (f *fates) fetch(dst []transport.Fate) []transport.Fate {
	dst = append(dst, f.ready...)
	f.ready = f.ready[:0]
	return dst
}
