package collect

// Bounds of the sequence accounting. Numbers are Data Records, as Sequence
// Numbers count them (RFC 7011, Section 3.1).
const (
	// nearWindow is how far from the line a number is believed at once. A
	// number further away has to be confirmed by a second one.
	nearWindow = 1 << 16
	// maxLoss is the largest jump forward that counts as loss. Beyond it an
	// exporter that began anew is the likelier cause.
	maxLoss = 1 << 24
	// maxFirstGap bounds the loss assumed before the first message of a
	// session that is seen from its beginning: exporters that carry their
	// numbers over from an earlier session must not look like loss.
	maxFirstGap = 1 << 12
	// maxGaps bounds the holes kept open for late messages: the reorder
	// window. What is missing in an older hole stays lost.
	maxGaps = 64
)

// SequenceStats is what the Sequence Numbers of one or more streams tell, in
// Data Records.
type SequenceStats struct {
	Lost       uint64 `json:"lost"`       // missing now; shrinks when late messages come
	Late       uint64 `json:"late"`       // arrived after newer ones
	Duplicate  uint64 `json:"duplicate"`  // arrived before
	Unplaced   uint64 `json:"unplaced"`   // in messages that fit no line of numbers
	Waiting    uint64 `json:"waiting"`    // held until their template comes
	Unreadable uint64 `json:"unreadable"` // arrived in sets that could not be decoded
	Restarts   uint64 `json:"restarts"`   // the exporter began anew
	OutOfOrder uint64 `json:"outOfOrder"` // messages that were not the expected one
	Strays     uint64 `json:"strays"`     // messages behind Unplaced
}

func (s *SequenceStats) add(o *SequenceStats) {
	s.Lost += o.Lost
	s.Late += o.Late
	s.Duplicate += o.Duplicate
	s.Unplaced += o.Unplaced
	s.Waiting += o.Waiting
	s.Unreadable += o.Unreadable
	s.Restarts += o.Restarts
	s.OutOfOrder += o.OutOfOrder
	s.Strays += o.Strays
}

// A gap is a range of numbers that no decoded record has taken, between two
// messages. A message whose sets could not be decoded yet, or ever, leaves
// one as well: which of its numbers were lost is then not known before its
// sets are decoded.
type gap struct {
	from, to uint32
	filled   uint32 // records known to be in it, but not where
	pending  uint32 // held sets that belong in it
	opaque   bool   // it also covers sets that will never be decoded
}

func (g *gap) missing() uint32 { return g.to - g.from - g.filled }

// A sequence keeps account of the Sequence Numbers of one stream of one
// Observation Domain (RFC 7011, Section 3.1), modulo 2^32, with a window for
// messages that come late. It is a pure machine.
//
// A number far from the expected one, or one that goes back although its
// message cannot be an old one, starts a candidate line. Only a second message
// on that line makes it the line (RFC 3550, Appendix A.1 does so for RTP):
// one stray, garbled or forged message therefore changes nothing.
type sequence struct {
	SequenceStats
	started    bool
	fromZero   bool // the session is seen from its beginning
	first      uint32
	next       uint32 // expected number
	exportTime uint32 // latest on the line
	gaps       []gap  // ascending
	tail       tail
	candidate  candidate
	forgotten  uint64 // of Unreadable: what may yet be decoded
}

// tail is what of the newest message on the line is not decoded: it becomes a
// gap when the next message tells how many records that was.
type tail struct {
	base    uint32
	pending uint32
	opaque  uint32
}

type candidate struct {
	active     bool
	first      uint32
	next       uint32
	exportTime uint32
	records    uint32
	tail       tail
}

// arrival is what the accounting has to know of one message.
type arrival struct {
	number     uint32 // its Sequence Number
	exportTime uint32
	records    uint32 // decoded, options data included
	options    uint32 // of those: options data
	held       uint32 // data sets that wait for their template
	opaque     uint32 // data sets whose number of records stays unknown
}

func (a *arrival) tail() tail { return tail{base: a.number, pending: a.held, opaque: a.opaque} }

// message accounts for one message.
func (s *sequence) message(a arrival) {
	if !s.started {
		s.begin(a)
		return
	}
	switch ahead := int32(a.number - s.next); {
	case ahead == 0:
		s.inLine(a)
	case s.candidate.records > 0 && a.number == s.candidate.next:
		s.OutOfOrder++
		s.stray(a)
	case ahead > 0 && ahead <= nearWindow:
		s.OutOfOrder++
		s.inLine(a)
	case ahead > 0:
		s.OutOfOrder++
		s.stray(a)
	default:
		s.OutOfOrder++
		s.behind(a)
	}
}

func (s *sequence) begin(a arrival) {
	s.started = true
	s.first, s.next = a.number, a.number
	if s.fromZero && a.number <= maxFirstGap {
		s.first, s.next = 0, 0
	}
	s.exportTime = a.exportTime
	s.inLine(a)
}

// inLine takes a message at or shortly after the expected number.
func (s *sequence) inLine(a arrival) {
	s.dropCandidate()
	if a.number != s.next {
		s.open(gap{from: s.next, to: a.number, pending: s.tail.pending, opaque: s.tail.opaque > 0})
	}
	s.next = a.number + a.records
	s.tail = a.tail()
	if int32(a.exportTime-s.exportTime) > 0 {
		s.exportTime = a.exportTime
	}
}

// behind takes a message from before the expected number: late, a duplicate,
// or the first of an exporter that began anew.
func (s *sequence) behind(a arrival) {
	late := s.fill(a.number, a.records)
	if late > 0 || s.await(a) {
		s.Late += uint64(late)
		s.Duplicate += uint64(a.records - late)
		return
	}
	// Neither a late message nor a duplicate was exported after the newest on
	// the line, or goes beyond it.
	newer := int32(a.exportTime-s.exportTime) > 0 || int32(a.number+a.records-s.next) > 0
	switch early := s.first - a.number; {
	case !newer && int32(early) > 0 && early <= nearWindow:
		// Overtaken by the first message seen.
		s.Late += uint64(a.records)
		s.first = a.number
	case newer, s.next-a.number > nearWindow:
		s.stray(a)
	default:
		s.Duplicate += uint64(a.records)
	}
}

// stray takes a message that is not on the line: it begins a candidate or
// confirms one.
func (s *sequence) stray(a arrival) {
	c := s.candidate
	if c.active && c.records+a.records == 0 && a.number == c.first && c.tail == (tail{base: c.first}) {
		return // nothing but templates, perhaps the same message again
	}
	if !c.active || a.number-c.next > nearWindow {
		s.dropCandidate()
		s.candidate = candidate{
			active: true, first: a.number, next: a.number + a.records,
			exportTime: a.exportTime, records: a.records, tail: a.tail(),
		}
		return
	}
	s.candidate = candidate{}
	if ahead := c.first - s.next; ahead <= maxLoss {
		// A long outage; the line goes on.
		s.open(gap{from: s.next, to: c.first, pending: s.tail.pending, opaque: s.tail.opaque > 0})
	} else {
		s.settle()
		s.Restarts++
		s.first = c.first
		s.exportTime = c.exportTime
	}
	s.next, s.tail = c.next, c.tail
	s.inLine(a)
}

func (s *sequence) dropCandidate() {
	if c := &s.candidate; c.active {
		s.Strays++
		s.Unplaced += uint64(c.records)
		s.Unreadable += uint64(c.tail.opaque + c.tail.pending)
		s.forgotten += uint64(c.tail.pending)
		*c = candidate{}
	}
}

// open adds a gap at the end of the line. Neighbours that both hold undecoded
// sets become one: their border says nothing.
func (s *sequence) open(g gap) {
	if n := len(s.gaps); n > 0 {
		last := &s.gaps[n-1]
		if last.to == g.from && last.unsure() == g.unsure() {
			s.account(last, -1)
			last.to = g.to
			last.pending += g.pending
			last.opaque = last.opaque || g.opaque
			s.account(last, +1)
			return
		}
	}
	if len(s.gaps) == maxGaps {
		s.forget(&s.gaps[0])
		s.gaps = append(s.gaps[:0], s.gaps[1:]...)
	}
	s.gaps = append(s.gaps, g)
	s.account(&g, +1)
}

func (g *gap) unsure() bool { return g.pending > 0 || g.opaque }

// account puts what is missing in g where its kind belongs.
func (s *sequence) account(g *gap, sign int64) {
	n := uint64(sign * int64(g.missing()))
	switch {
	case g.pending > 0:
		s.Waiting += n
	case g.opaque:
		s.Unreadable += n
	default:
		s.Lost += n
	}
}

// forget closes a gap for good.
func (s *sequence) forget(g *gap) {
	if g.pending > 0 {
		s.account(g, -1)
		s.Unreadable += uint64(g.missing())
		s.forgotten += uint64(g.missing())
		g.pending, g.opaque = 0, true
	}
}

// fill takes the numbers from number on out of the gaps and returns how many
// of them were missing.
func (s *sequence) fill(number, records uint32) (late uint32) {
	if records == 0 || len(s.gaps) == 0 {
		return 0
	}
	end := number + records
	for i := 0; i < len(s.gaps); i++ {
		g := &s.gaps[i]
		if int32(g.to-number) <= 0 {
			continue
		}
		if int32(g.from-end) >= 0 {
			break
		}
		lo, hi := number, end
		if int32(g.from-lo) > 0 {
			lo = g.from
		}
		if int32(hi-g.to) > 0 {
			hi = g.to
		}
		s.account(g, -1)
		left, right := *g, *g
		left.to, right.from = lo, hi
		switch n := min(hi-lo, g.missing()); {
		case g.unsure() || g.filled > 0:
			g.filled += n
			late += n
		case left.from == left.to:
			*g = right
			late += n
		case right.from == right.to:
			*g = left
			late += n
		default:
			// In the middle. Without room for another gap the place is
			// forgotten, not the count.
			late += n
			if len(s.gaps) == maxGaps {
				g.filled += n
				break
			}
			*g = left
			s.account(g, +1)
			s.gaps = append(s.gaps, gap{})
			copy(s.gaps[i+2:], s.gaps[i+1:])
			s.gaps[i+1] = right
			g = &s.gaps[i+1]
			i++
		}
		s.account(g, +1)
		if g.missing() == 0 && g.pending == 0 {
			s.gaps = append(s.gaps[:i], s.gaps[i+1:]...)
			i--
		}
	}
	return late
}

// await notes the undecoded sets of a late message in the gap it belongs to.
func (s *sequence) await(a arrival) bool {
	if a.held == 0 && a.opaque == 0 {
		return false
	}
	for i := range s.gaps {
		g := &s.gaps[i]
		if int32(a.number+a.records-g.from) >= 0 && int32(g.to-(a.number+a.records)) > 0 {
			s.account(g, -1)
			g.pending += a.held
			g.opaque = g.opaque || a.opaque > 0
			s.account(g, +1)
			return true
		}
	}
	return false
}

// resolved tells that a held set of the message with this number was decoded
// and had so many records; !decoded that it never will be.
func (s *sequence) resolved(number, records uint32, decoded bool) {
	for i := range s.gaps {
		g := &s.gaps[i]
		if g.pending == 0 || int32(g.to-number) <= 0 {
			continue
		}
		s.account(g, -1)
		g.pending--
		g.opaque = g.opaque || !decoded
		g.filled += min(records, g.missing())
		s.account(g, +1)
		if g.missing() == 0 && g.pending == 0 {
			s.gaps = append(s.gaps[:i], s.gaps[i+1:]...)
		}
		return
	}
	for _, t := range []*tail{&s.tail, &s.candidate.tail} {
		if t.pending == 0 || t.base != number {
			continue
		}
		t.pending--
		if !decoded {
			t.opaque++
		}
		if t == &s.tail {
			s.next += records
		} else {
			s.candidate.next += records
			s.candidate.records += records
		}
		return
	}
	// Its place was forgotten: it was counted as unreadable then.
	n := min(s.forgotten, uint64(records))
	s.forgotten -= n
	s.Unreadable -= n
}

// settle ends the line: what is still unknown stays so.
func (s *sequence) settle() {
	s.dropCandidate()
	for i := range s.gaps {
		s.forget(&s.gaps[i])
	}
	s.gaps = s.gaps[:0]
	// How many records these sets held nobody tells: at least one each.
	s.Unreadable += uint64(s.tail.pending + s.tail.opaque)
	s.tail = tail{}
}
