package shim

import (
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// Message is one user message to send.
type Message struct {
	Stream uint16
	PPID   uint32
	// Unordered, Immediate: the U and I bits (RFC 9260, Section 3.3.1).
	Unordered, Immediate bool
	// Deadline is when the message is given up (RFC 3758, Section 4.1); zero:
	// never.
	Deadline time.Time
	Size     int // octets, at least 1
	// Tag is the sender's own.
	Tag uint32
}

// GivenUp is a message that the peer will not get, or may not have got.
type GivenUp struct {
	Number uint64 // counted from 1, in the order of Enter
	Stream uint16
	Tag    uint32
}

// entry is a message in the ledger until it is acknowledged or skipped.
type entry struct {
	Message
	ssn uint16 // on the wire
	// pending counts its DATA chunks that have a TSN and are not yet
	// cumulatively acknowledged; cut says that all of them have one.
	pending   int
	cut       bool
	abandoned bool
}

// fragment is a DATA chunk that has a TSN.
type fragment struct {
	message uint64 // its entry, counted from the first of all
	sent    time.Time
	times   uint8 // put on the wire; 255: that or more
	acked   bool  // in a Gap Ack Block
}

// ledger knows what became of each message: the engine cuts messages, in the
// order in which they were entered, into DATA chunks of consecutive TSNs, and
// the peer acknowledges TSNs.
type ledger struct {
	base      uint32 // the lowest TSN not cumulatively acknowledged
	advanced  uint32 // base and those behind it up to here, exclusive, are given up
	fragments ring[fragment]
	entries   ring[entry]
	first     uint64 // number of entries.at(0)
	cursor    uint64 // number of the entry that the engine cuts next or is cutting
	cutting   bool   // the engine is in the middle of it

	ssns    []uint16 // next stream sequence number, by stream
	partial bool     // the peer understands FORWARD TSN
	bytes   int      // of the entries
	timed   uint32   // the next TSN whose round trip is measured

	given ring[GivenUp] // not yet told of

	retransmitted, abandoned uint64
}

func newLedger(t *Terms) ledger {
	return ledger{
		base: t.LocalTSN, advanced: t.LocalTSN, timed: t.LocalTSN,
		ssns:    make([]uint16, t.Out),
		partial: t.ForwardTSN,
	}
}

// after tells whether TSN a comes after b.
func after(a, b uint32) bool { return int32(a-b) > 0 }

func (l *ledger) next() uint32 { return l.base + uint32(l.fragments.len()) }

func (l *ledger) entry(number uint64) *entry { return l.entries.at(int(number - l.first)) }

// enter adds a message, whose stream exists.
func (l *ledger) enter(m *Message) {
	e := l.entries.push()
	*e = entry{Message: *m}
	if !l.partial {
		e.Deadline = time.Time{}
	}
	if !m.Unordered {
		e.ssn = l.ssns[m.Stream]
		l.ssns[m.Stream]++
	}
	l.bytes += m.Size
}

// unenter takes the last message back, of which the engine would have nothing.
func (l *ledger) unenter() {
	e := l.entries.at(l.entries.len() - 1)
	if !e.Unordered {
		l.ssns[e.Stream]--
	}
	l.bytes -= e.Size
	l.entries.unpush()
}

// entered is the number of messages ever entered, settled of those, from the
// first on, acknowledged or skipped.
func (l *ledger) entered() uint64 { return l.first + uint64(l.entries.len()) }
func (l *ledger) settled() uint64 { return l.first }

// fate of a DATA chunk on its way out.
type fate uint8

const (
	passOn  fate = iota
	takeOut      // given up, or acknowledged in the meantime
	lost         // the engine does what was not expected of it: it cannot be followed
)

// transmit takes a DATA chunk of the engine and writes into it what the
// message was entered with.
func (l *ledger) transmit(now time.Time, d *wire.Data) fate {
	at := d.TSN - l.base
	switch {
	case after(l.base, d.TSN):
		return takeOut
	case at < uint32(l.fragments.len()):
		return l.retransmit(now, d, l.fragments.at(int(at)))
	case at > uint32(l.fragments.len()) || l.cursor == l.entered():
		return lost
	}
	number := l.cursor
	e := l.entry(number)
	if d.Stream != e.Stream || (d.Flags&wire.FlagBegin != 0) == l.cutting {
		return lost
	}
	*l.fragments.push() = fragment{message: number, sent: now, times: 1}
	e.pending++
	l.cutting = d.Flags&wire.FlagEnd == 0
	if !l.cutting {
		e.cut = true
		l.cursor++
	}
	return l.dress(now, d, number)
}

// message is the number of the message of which a DATA chunk on its way out is
// a part.
func (l *ledger) message(tsn uint32) uint64 {
	if at := tsn - l.base; at < uint32(l.fragments.len()) {
		return l.fragments.at(int(at)).message
	}
	return l.cursor
}

func (l *ledger) retransmit(now time.Time, d *wire.Data, f *fragment) fate {
	what := l.dress(now, d, f.message)
	if what == passOn {
		l.retransmitted++
		if f.times < 0xFF {
			f.times++
		}
	}
	return what
}

// dress gives the chunk its message's properties, or has it taken out when the
// message's lifetime is over (RFC 3758, Section 4.1: before the first
// transmission as well as any other).
func (l *ledger) dress(now time.Time, d *wire.Data, number uint64) fate {
	e := l.entry(number)
	if !e.abandoned && due(e.Deadline, now) {
		l.abandon(e, number)
	}
	if e.abandoned {
		return takeOut
	}
	d.SSN, d.PPID = e.ssn, e.PPID
	if e.Unordered {
		d.Flags |= wire.FlagUnordered // its SSN is 0
	}
	if e.Immediate && d.Flags&wire.FlagEnd != 0 {
		d.Flags |= wire.FlagImmediate
	}
	return passOn
}

// abandon gives up a message, which has a number counted from 0.
func (l *ledger) abandon(e *entry, number uint64) {
	e.abandoned = true
	l.abandoned++
	*l.given.push() = GivenUp{Number: number + 1, Stream: e.Stream, Tag: e.Tag}
}

// end gives up everything that is not acknowledged.
func (l *ledger) end() {
	for i := range l.entries.len() {
		if e := l.entries.at(i); !e.abandoned {
			l.abandon(e, l.first+uint64(i))
		}
	}
	l.first += uint64(l.entries.len())
	l.cursor, l.bytes = l.first, 0
	l.entries, l.fragments = ring[entry]{}, ring[fragment]{}
}
