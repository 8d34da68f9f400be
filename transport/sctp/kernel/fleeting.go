package kernel

import (
	"time"

	"ipfixsuite/transport/sctp"
)

// maxFleeting bounds the messages of one association of which it is not yet
// known whether the kernel gave them up. A session waits every other second
// until nothing is under way.
const maxFleeting = 1 << 15

// early is by how much the kernel's clock, which ticks every 10 ms or quicker,
// may be ahead of the one here.
const early = 20 * time.Millisecond

// fleeting are the messages that the kernel may give up, from when they are
// handed to it until nothing is under way any more. It names those that it
// gave up before it had sent them; of the others it tells how many there were,
// and never which. But only one whose lifetime is over can be among them: if
// there are as many of these as were given up, it is known which they were.
type fleeting struct {
	list  []flight
	marks []mark // ascending
	more  bool   // there were more than the list takes
	given uint64 // by the kernel's counter, before the first one
	at    int    // where the next one that is named stands, most likely
}

// mark is a moment at which nothing was under way.
type mark struct {
	n     int    // how many stood in the list
	given uint64 // by the kernel's counter
	at    time.Time
}

// flight is one of them.
type flight struct {
	message sctp.Message // without its data
	expires time.Time
	named   bool // the kernel told of it, or it was found out
	unsent  bool // and that its beginning was never sent: it counts it not among those that were
}

// add takes note of a message that is about to be handed over.
func (f *fleeting) add(now time.Time, m *sctp.Message) {
	if len(f.list) == maxFleeting {
		f.more = true
		return
	}
	f.list = append(f.list, flight{
		message: sctp.Message{Stream: m.Stream, PPID: m.PPID, Unordered: m.Unordered, Tag: m.Tag},
		expires: now.Add(m.Lifetime - early),
	})
}

// remove takes back the last n, which the kernel did not take.
func (f *fleeting) remove(n int) { f.list = f.list[:max(len(f.list)-n, 0)] }

// name notes that the kernel told of a message, or of a piece of it. unsent: of
// its first one, and that it was never sent.
func (f *fleeting) name(tag uint32, unsent bool) {
	for range f.list {
		if f.at >= len(f.list) {
			f.at = 0
		}
		if e := &f.list[f.at]; e.message.Tag == tag {
			e.named, e.unsent = true, e.unsent || unsent
			return
		}
		f.at++
	}
}

// idle notes that nothing is under way before the next message: what is found
// out of those before it does not depend on those behind.
func (f *fleeting) idle(now time.Time, given uint64) {
	last := 0
	if n := len(f.marks); n > 0 {
		last = f.marks[n-1].n
	}
	if len(f.list) > last {
		f.marks = append(f.marks, mark{len(f.list), given, now})
	}
}

// resolve appends to failed the messages that the kernel gave up after it had
// sent them and has not told of, if it can be told which they were. given is how
// many there were of these, ever.
func (f *fleeting) resolve(now time.Time, given uint64, failed []sctp.Message) []sctp.Message {
	if f.more {
		return failed
	}
	begin, before := 0, f.given
	f.marks = append(f.marks, mark{len(f.list), given, now})
	for _, m := range f.marks {
		failed = resolve(f.list[begin:m.n], m.at, m.given-before, failed)
		begin, before = m.n, m.given
	}
	f.marks = f.marks[:len(f.marks)-1]
	return failed
}

// resolve does that for messages of which the kernel gave up so many.
func resolve(list []flight, now time.Time, left uint64, failed []sctp.Message) []sctp.Message {
	could := uint64(0)
	for i := range list {
		switch e := &list[i]; {
		case e.named && !e.unsent:
			left--
		case e.over(now):
			could++
		}
	}
	if left == 0 || left != could {
		return failed
	}
	for i := range list {
		if e := &list[i]; e.over(now) {
			e.named = true
			failed = append(failed, e.message)
		}
	}
	return failed
}

// over tells whether the kernel may have given the message up, and not told.
func (e *flight) over(now time.Time) bool { return !e.named && !e.expires.After(now) }

// settle is resolve when nothing is under way any more: after it, nothing is
// known of those of which it could not be told.
func (f *fleeting) settle(now time.Time, given uint64, failed []sctp.Message) []sctp.Message {
	failed = f.resolve(now, given, failed)
	*f = fleeting{list: f.list[:0], marks: f.marks[:0], given: given}
	return failed
}
