package metering

const (
	// fragmentSets times fragmentWays datagrams are remembered; a new one
	// takes the place of the oldest in its set, so a flood of fragments
	// costs others their ports, never memory.
	fragmentSets = 1 << 10
	fragmentWays = 4
)

// fragmentKey names a datagram (RFC 791, Section 3.2; RFC 8200, Section 4.5).
type fragmentKey struct {
	src, dst [2]uint64
	id       uint64 // identification, next header, version
}

type fragmentEntry struct {
	fragmentKey
	at       int64 // of the first fragment; 0 = free
	ports    uint32
	protocol uint8
}

// fragments maps datagrams to the ports their first fragment told.
type fragments struct {
	sets []fragmentEntry
}

// fragment learns from a first fragment, and gives a later one the ports,
// ICMP type and protocol of its first. If the first was not seen before, the
// later one is metered with ports 0 and counted.
func (m *Meter) fragment(ns int64) {
	h := &m.headers
	m.stats.Fragments++
	fs := &m.fragments
	if fs.sets == nil {
		fs.sets = make([]fragmentEntry, fragmentSets*fragmentWays)
	}
	k := fragmentKey{src: h.Src, dst: h.Dst, id: uint64(h.FragmentID)<<16 | uint64(h.FragmentNext)<<8 | uint64(h.Version)}
	hash := m.table.hash(&key{src: k.src, dst: k.dst, ports: k.id | keyV6})
	set := fs.sets[hash%fragmentSets*fragmentWays:][:fragmentWays]
	oldest := &set[0]
	for i := range set {
		e := &set[i]
		if e.fragmentKey == k {
			if !h.Later {
				oldest = e
				break
			}
			if age := ns - e.at; age < int64(DefaultFragmentTimeout) && age > -int64(DefaultFragmentTimeout) && e.at != 0 {
				h.SrcPort, h.DstPort, h.Protocol = uint16(e.ports>>16), uint16(e.ports), e.protocol
				return
			}
		}
		if e.at < oldest.at {
			oldest = e
		}
	}
	if h.Later {
		m.stats.FragmentsUnmatched++
		return
	}
	*oldest = fragmentEntry{fragmentKey: k, at: max(ns, 1), ports: uint32(h.SrcPort)<<16 | uint32(h.DstPort), protocol: h.Protocol}
}
