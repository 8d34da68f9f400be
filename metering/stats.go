package metering

// Stats is a snapshot of what the meter counted since New.
type Stats struct {
	Packets       uint64           // handed in
	Octets        uint64           // IP octets of the packets metered
	Ignored       [verdicts]uint64 // packets not metered, by Verdict
	IgnoredOctets uint64           // their lengths on the wire
	Truncated     uint64           // metered although the capture cut them, or they are shorter than they say
	Fragments     uint64           // metered
	// FragmentsUnmatched were metered with ports 0: their datagram's first
	// fragment came later, long before, or not at all.
	FragmentsUnmatched uint64
	Flows              uint64 // begun
	Records            uint64 // handed out
	Active             int    // flows in the table
	Evicted            uint64 // records made early for lack of room
	ClockSteps         uint64 // times the packets' clock went back
	Memory             uint64 // octets held by the tables
}

// IgnoredPackets is the number of packets not metered (RFC 7012,
// ignoredPacketTotalCount).
func (s Stats) IgnoredPackets() uint64 {
	var n uint64
	for _, c := range s.Ignored {
		n += c
	}
	return n
}

// Stats returns the counters.
func (m *Meter) Stats() Stats {
	s := m.stats
	s.Active = m.table.count
	s.Memory = m.table.memory() + uint64(len(m.fragments.sets))*64
	return s
}
