package collect

// conventionRun is how many messages in a row have to speak against the
// convention believed in, with none for it.
const conventionRun = 6

// A convention finds out how an exporter counts. The Sequence Number of a
// message is that of the Data Records sent before it (RFC 7011, Section 3.1);
// softflowd and others give the number after it, and leave options data out.
// Taken by the rule, their numbers would show losses and duplicates in every
// message.
type convention struct {
	after   bool // numbers include their own message
	seen    bool
	number  uint32
	records uint32 // all Data Records
	run     uint8
}

// observe looks at how the number of a message follows from the one before, and
// reports whether the convention turned out to be the other one.
func (c *convention) observe(a *arrival) bool {
	if a.held+a.opaque > 0 {
		c.seen = false
		return false
	}
	if a.records == 0 {
		return false
	}
	flows, step := a.records-a.options, a.number-c.number
	if c.seen && flows != c.records {
		// Where something was lost in between, neither fits.
		switch before, after := step == c.records, step == flows; {
		case before == after:
		case after == c.after:
			c.run = 0
		default:
			c.run++
		}
	}
	c.seen, c.number, c.records = true, a.number, a.records
	if c.run < conventionRun {
		return false
	}
	c.after, c.run = !c.after, 0
	return true
}

// normal is the message as an exporter by the rule would have numbered it.
func (c *convention) normal(a arrival) arrival {
	if c.after {
		a.records -= a.options
		a.number -= a.records
	}
	return a
}

// take accounts for one message, by the exporter's convention. When that turns
// out to be another one, the account begins anew: what it says up to there is
// not true. It reports whether that happened.
func (s *stream) take(a arrival) (changed bool) {
	if s.observe(&a) {
		s.sequence = sequence{gaps: s.gaps[:0]}
		changed = true
	}
	s.message(s.normal(a))
	return changed
}
