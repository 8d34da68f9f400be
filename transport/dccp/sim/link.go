package sim

import (
	"math/bits"
	"math/rand/v2"
	"time"
)

// LinkConfig describes one direction of a line. The zero value delivers
// everything at once.
type LinkConfig struct {
	Rate  int64 // bits per second; 0: no limit and no queue
	Queue int   // octets that may wait for the line, with the rest of what it sends; 0: no bound

	Delay  time.Duration // of propagation
	Jitter time.Duration // up to this is added to each packet's delay; order is kept

	Loss       float64 // probability that a packet is lost, independent of others
	BurstStart float64 // probability, for each packet, that a burst of losses begins with it
	BurstEnd   float64 // probability, for each packet lost in a burst, that it is the last

	Reorder   float64       // probability that a packet is held back and overtaken
	ReorderBy time.Duration // by how long it is held back

	Duplicate float64 // probability that a second copy follows

	Mark   float64 // probability that a packet which may be marked is
	MarkAt int     // octets waiting above which each such packet is marked; 0: never

	Down bool // loses everything
}

// LinkStats counts packets.
type LinkStats struct {
	Sent       uint64 // given to the link
	Delivered  uint64 // left it, second copies included
	Octets     uint64 // of those delivered
	Overflowed uint64 // dropped at the queue's tail
	Lost       uint64 // by Loss, bursts, Down and Filter
	Reordered  uint64
	Duplicated uint64
	Marked     uint64
	MaxQueue   int // octets
}

// Link is one direction of a line.
type Link struct {
	// Filter, if any, sees each packet first; what it returns false for is lost.
	Filter func(now time.Time, data []byte) bool

	net    *Net
	cfg    LinkConfig
	rnd    *rand.Rand
	free   time.Duration // when the line has sent all it was given
	last   time.Duration // the latest arrival, which later packets do not overtake
	bursts bool
	stats  LinkStats
}

// linkStream sets the links' random sources apart from those of Net.Rand.
const linkStream = 1 << 32

// Link adds a link. Each has its own source of randomness, by the order of
// their creation.
func (n *Net) Link(cfg LinkConfig) *Link {
	n.links++
	return &Link{net: n, cfg: cfg, rnd: n.Rand(linkStream + uint64(n.links))}
}

// Config returns how the link behaves now.
func (l *Link) Config() LinkConfig { return l.cfg }

// Set changes how the link behaves; packets already on it are not touched.
func (l *Link) Set(cfg LinkConfig) {
	l.cfg = cfg
	l.bursts = l.bursts && cfg.BurstStart > 0 // what has no bursts any more is in none
}

// SetDown cuts the link or mends it.
func (l *Link) SetDown(down bool) { l.cfg.Down = down }

// Stats returns what has happened so far.
func (l *Link) Stats() LinkStats { return l.stats }

// Waiting is how many octets wait for the line or are being sent.
func (l *Link) Waiting() int {
	if l.cfg.Rate == 0 || l.free <= l.net.now {
		return 0
	}
	hi, lo := bits.Mul64(uint64(l.free-l.net.now), uint64(l.cfg.Rate))
	octets, _ := bits.Div64(hi, lo, uint64(8*time.Second))
	return int(octets)
}

// enter takes a parcel. A packet that is lost on the line has used the line:
// losses are not seen by who waits behind.
func (l *Link) enter(p *parcel) {
	l.stats.Sent++
	if l.cfg.Down || l.Filter != nil && !l.Filter(l.net.Now(), p.data) {
		l.stats.Lost++
		l.net.release(p)
		return
	}
	if !l.queue(p) {
		l.stats.Overflowed++
		l.net.release(p)
		return
	}
	if l.loses() {
		l.stats.Lost++
		l.net.release(p)
		return
	}
	l.mark(p, l.cfg.Mark > 0 && l.rnd.Float64() < l.cfg.Mark)
	if l.cfg.Duplicate > 0 && l.rnd.Float64() < l.cfg.Duplicate {
		l.stats.Duplicated++
		second := l.net.take(p.data)
		second.capable, second.ce, second.path, second.hop = p.capable, p.ce, p.path, p.hop
		l.launch(p)
		l.launch(second)
		return
	}
	l.launch(p)
}

// queue lets the parcel wait its turn for the line, or refuses it.
func (l *Link) queue(p *parcel) bool {
	if l.cfg.Rate == 0 {
		l.free = l.net.now
		return true
	}
	waiting := l.Waiting()
	if l.cfg.Queue > 0 && waiting > 0 && waiting+len(p.data) > l.cfg.Queue {
		return false
	}
	l.stats.MaxQueue = max(l.stats.MaxQueue, waiting)
	l.mark(p, l.cfg.MarkAt > 0 && waiting > l.cfg.MarkAt)
	l.free = max(l.free, l.net.now) + time.Duration(int64(len(p.data))*int64(8*time.Second)/l.cfg.Rate)
	return true
}

func (l *Link) mark(p *parcel, yes bool) {
	if yes && p.capable && !p.ce {
		p.ce = true
		l.stats.Marked++
	}
}

// loses decides by two states, in one of which everything is lost (Gilbert),
// and by chance alone.
func (l *Link) loses() bool {
	if !l.bursts && l.cfg.BurstStart > 0 {
		l.bursts = l.rnd.Float64() < l.cfg.BurstStart
	}
	if l.bursts {
		l.bursts = l.rnd.Float64() >= l.cfg.BurstEnd
		return true
	}
	return l.cfg.Loss > 0 && l.rnd.Float64() < l.cfg.Loss
}

// launch sends the parcel over the line.
func (l *Link) launch(p *parcel) {
	at := l.free + l.cfg.Delay
	if l.cfg.Jitter > 0 {
		at += time.Duration(l.rnd.Int64N(int64(l.cfg.Jitter)))
	}
	if l.cfg.Reorder > 0 && l.rnd.Float64() < l.cfg.Reorder {
		l.stats.Reordered++
		at += l.cfg.ReorderBy
	} else {
		at = max(at, l.last)
		l.last = at
	}
	l.stats.Delivered++
	l.stats.Octets += uint64(len(p.data))
	l.net.push(event{at: at, parcel: p})
}
