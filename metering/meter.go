package metering

import "time"

// Meter turns packets into flow records. One goroutine drives it.
type Meter struct {
	active, idle, end int64 // timeouts in ns
	maxFlows          int
	biflow            bool
	emit              func(*Flow)

	table     table
	wheel     wheel
	fragments fragments
	headers   Headers
	now       int64
	started   bool
	stats     Stats
}

// New makes a meter that hands each finished record to emit. The flow is
// valid during the call; emit must not call the meter. An idle timeout or
// flow limit that Validate refuses counts as not given.
func New(cfg Config, emit func(f *Flow)) *Meter {
	cfg = cfg.withDefaults()
	return &Meter{
		active:   int64(cfg.ActiveTimeout),
		idle:     int64(cfg.IdleTimeout),
		end:      int64(cfg.EndTimeout),
		maxFlows: cfg.MaxFlows,
		biflow:   cfg.Biflow,
		emit:     emit,
		table:    newTable(cfg.Seed),
	}
}

// Packet meters one packet: ns is its time in nanoseconds since 1970, data
// what was captured from the link layer on, length what was on the wire,
// iface the ingress interface (0 if unknown). data is not kept.
func (m *Meter) Packet(ns int64, link LinkType, data []byte, length int, iface uint32) {
	m.stats.Packets++
	ns = m.Advance(ns)
	h := &m.headers
	if v := h.Parse(link, data, length); v != Metered {
		m.stats.Ignored[v]++
		m.stats.IgnoredOctets += uint64(max(length, len(data)))
		return
	}
	m.stats.Octets += h.Octets
	if h.Truncated {
		m.stats.Truncated++
	}
	if h.Fragment {
		m.fragment(ns)
	}
	if iface == 0 {
		iface = h.Interface
	}
	m.count(ns, h, iface)
}

// minDisorder is how far out of order packets may always be; capture files of
// several interfaces are sorted to some milliseconds.
const minDisorder = int64(time.Second)

// Advance tells the meter that it is ns: flows whose time is over are handed
// out. Packet does it too. The time it returns is ns within the range that
// can be reckoned with.
func (m *Meter) Advance(ns int64) int64 {
	ns = min(max(ns, 0), forever)
	switch {
	case !m.started:
		m.started = true
		m.now = ns
		m.wheel.reset(ns)
	case ns > m.now:
		m.now = ns
		if ns>>tickShift != m.wheel.tick {
			m.turn()
		}
	case ns < m.now-max(m.idle, minDisorder):
		// More than disorder: the clock was set back, or another capture
		// begins. Flows do not span it.
		m.stats.ClockSteps++
		m.drain(ForcedEnd)
		m.now = ns
		m.wheel.reset(ns)
	}
	return ns
}

// Flush hands out all flows: those that ended as ended, the others as a
// forced end.
func (m *Meter) Flush() { m.drain(ForcedEnd) }

// count adds the packet to its flow.
func (m *Meter) count(ns int64, h *Headers, iface uint32) {
	var k key
	back := m.fillKey(&k, h, iface)
	hash := m.table.hash(&k)
	n, f := m.table.find(&k, hash)
	if f == nil {
		n, f = m.begin(&k, hash, ns, h, back)
	} else if at, reason := m.deadline(f); ns >= at || f.flags[0]&flowEnded != 0 && h.TCPFlags&tcpSYN != 0 {
		m.again(f, ns, at, reason, h, back)
	}
	dir, hf := 0, &f.fwd
	if back != (f.slot&swapped != 0) {
		dir, hf = 1, &f.rev
	}
	switch {
	case hf.packets == 0:
		hf.first, hf.last = ns, ns
		f.tos[dir] = h.TOS
	case ns > hf.last:
		hf.last = ns
	case ns < hf.first:
		hf.first = ns
	}
	hf.packets++
	hf.octets += h.Octets
	if h.TCPFlags != 0 {
		f.flags[dir] |= h.TCPFlags
		if h.TCPFlags&(tcpFIN|tcpRST) != 0 {
			m.ending(n, f, dir, h.TCPFlags)
		}
	}
}

// fillKey writes the Flow Key and tells whether the packet goes from the
// key's second end to its first.
func (m *Meter) fillKey(k *key, h *Headers, iface uint32) (back bool) {
	k.src, k.dst = h.Src, h.Dst
	sport, dport := h.SrcPort, h.DstPort
	k.where = uint64(iface)<<whereIface | uint64(min(h.Tags, 2))<<whereTags | uint64(h.InnerVLAN)<<whereVLAN | uint64(h.VLAN)
	bits := uint64(h.Protocol)
	if h.Version == 6 {
		bits |= keyV6
	}
	icmp := h.ICMP()
	if icmp {
		bits |= keyICMP
	}
	if m.biflow {
		back = h.Src[1] > h.Dst[1]
		if h.Src[0] != h.Dst[0] {
			back = h.Src[0] > h.Dst[0]
		} else if h.Src[1] == h.Dst[1] {
			back = !icmp && sport > dport
		}
		if icmp {
			// A ping and its answers are one flow, pings of the two ends two.
			var answer bool
			if dport, answer = request(h.Version == 6, dport); answer != back {
				bits |= keyBack
			}
		}
		if back {
			k.src, k.dst = k.dst, k.src
			if !icmp {
				sport, dport = dport, sport
			}
		}
	}
	k.ports = uint64(sport)<<keySrcBit | uint64(dport)<<keyDstBit | bits
	return back
}

// begin makes a flow of its first packet.
func (m *Meter) begin(k *key, hash uint32, ns int64, h *Headers, back bool) (uint32, *Flow) {
	if m.table.count >= m.maxFlows {
		m.evict()
	}
	n, f := m.table.insert(k, hash)
	m.stats.Flows++
	m.orient(f, h, back)
	m.wheel.push(&m.table, n, f, ns+min(m.idle, m.active))
	return n, f
}

// orient decides which end a new biflow's source is: the sender of its first
// packet, unless that packet answers (RFC 5103, Section 5.1).
func (m *Meter) orient(f *Flow, h *Headers, back bool) {
	if !m.biflow {
		return
	}
	if h.TCPFlags&(tcpSYN|tcpACK) == tcpSYN|tcpACK && h.Protocol == protoTCP {
		back = !back
	} else if h.ICMP() {
		if _, answer := request(h.Version == 6, h.DstPort); answer {
			back = !back
		}
	}
	f.slot &^= swapped
	if back {
		f.slot |= swapped
	}
}

// again makes the record that was due of a flow before the packet h is
// counted, or that of a connection whose ports are now used for another one.
func (m *Meter) again(f *Flow, ns, at int64, reason EndReason, h *Headers, back bool) {
	if ns < at {
		reason = EndOfFlow
	}
	m.record(f, reason)
	if reason == ActiveTimeout {
		if at, _ = m.deadline(f); ns < at {
			return // the flow goes on
		}
	}
	f.flags = [2]uint16{}
	m.orient(f, h, back)
	m.stats.Flows++
}

// deadline is when the flow's next record is due, and why.
func (m *Meter) deadline(f *Flow) (int64, EndReason) {
	timeout, reason := m.idle, IdleTimeout
	if f.flags[0]&flowEnded != 0 {
		timeout, reason = m.end, EndOfFlow
	}
	at := f.last() + timeout
	if !f.empty() {
		if a := f.start() + m.active; a < at {
			return a, ActiveTimeout
		}
	}
	return at, reason
}

// ending notes a FIN or RST. The flow is over with a RST, or with a FIN of
// each way that is looked at; it is kept for the end timeout.
func (m *Meter) ending(n uint32, f *Flow, dir int, flags uint16) {
	f.flags[dir] |= sawEnd
	both := f.flags[dir^1]&sawEnd != 0
	if f.flags[0]&flowEnded != 0 || flags&tcpRST == 0 && m.biflow && !both {
		return
	}
	f.flags[0] |= flowEnded
	at, _ := m.deadline(f)
	m.wheel.unlink(&m.table, f)
	m.wheel.push(&m.table, n, f, at)
}

// record hands the flow out, if it counted anything, and sets its counters
// back. Its direction, whether it ended and when it was last seen stay.
func (m *Meter) record(f *Flow, reason EndReason) {
	m.hand(f, reason)
	last := f.last()
	f.fwd, f.rev = half{last: last}, half{}
	f.tos = [2]uint8{}
	f.flags[0] &^= flagBits
	f.flags[1] &^= flagBits
}

// turn runs the wheel up to the present tick.
func (m *Meter) turn() {
	from, to := m.wheel.tick, m.now>>tickShift
	m.wheel.tick = to
	for tick := from; tick < min(to, from+wheelSlots); tick++ {
		for n := m.wheel.detach(tick); n != none; {
			f := m.table.at(n)
			next := f.next
			m.due(n, f)
			n = next
		}
	}
}

// due looks at a flow that is in no list: it goes or is queued again.
func (m *Meter) due(n uint32, f *Flow) {
	at, reason := m.deadline(f)
	if at <= m.now && reason == ActiveTimeout {
		m.record(f, reason)
		at, reason = m.deadline(f)
	}
	if at > m.now {
		m.wheel.push(&m.table, n, f, at)
		return
	}
	m.drop(n, f, reason)
}

// drop hands out what remains of a flow that is in no list and removes it.
func (m *Meter) drop(n uint32, f *Flow, reason EndReason) {
	m.hand(f, reason)
	m.table.remove(n)
}

func (m *Meter) hand(f *Flow, reason EndReason) {
	if f.empty() {
		return
	}
	f.setReason(reason)
	m.stats.Records++
	m.emit(f)
}

// evictTries bounds how many flows that are not due soon evict queues again
// before it takes one nevertheless.
const evictTries = 32

// evict makes room in a full table: the flow that would time out first goes.
func (m *Meter) evict() {
	for try := 1; ; try++ {
		n, tick := m.wheel.first()
		if n == none {
			return
		}
		f := m.table.at(n)
		at, reason := m.deadline(f)
		m.wheel.unlink(&m.table, f)
		if at>>tickShift > tick && try < evictTries {
			m.wheel.push(&m.table, n, f, at)
			continue
		}
		if reason != EndOfFlow {
			reason = LackOfResources
		}
		if !f.empty() {
			m.stats.Evicted++
		}
		m.drop(n, f, reason)
		return
	}
}

// drain empties the table in the order of the wheel.
func (m *Meter) drain(reason EndReason) {
	for {
		n, _ := m.wheel.first()
		if n == none || !m.started {
			return
		}
		f := m.table.at(n)
		m.wheel.unlink(&m.table, f)
		why := reason
		if at, natural := m.deadline(f); at <= m.now || natural == EndOfFlow {
			why = natural
		}
		m.drop(n, f, why)
	}
}
