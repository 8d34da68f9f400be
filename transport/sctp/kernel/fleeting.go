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
	more  bool   // there were more than the list takes
	given uint64 // by the kernel's counter, when nothing was under way last
	at    int    // where the next one that is named stands, most likely
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

// resolve appends to failed the messages that the kernel gave up after it had
// sent them and has not told of, if it can be told which they were. given is how
// many there were of these, ever.
func (f *fleeting) resolve(now time.Time, given uint64, failed []sctp.Message) []sctp.Message {
	left, could := given-f.given, uint64(0)
	for i := range f.list {
		switch e := &f.list[i]; {
		case e.named && !e.unsent:
			left--
		case e.over(now):
			could++
		}
	}
	if left == 0 || left != could || f.more {
		return failed
	}
	for i := range f.list {
		if e := &f.list[i]; e.over(now) {
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
	*f = fleeting{list: f.list[:0], given: given}
	return failed
}
