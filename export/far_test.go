package export

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// farWorld is a collector with sessions of many streams: each keeps its order,
// and overtakes the others as chance has it. It crashes, and what it had not
// written by then is gone.
type farWorld struct {
	mu       sync.Mutex
	rng      *rand.Rand
	props    transport.Properties
	perRules bool    // the sessions have to keep RFC 6526
	nests    bool    // but for Templates of records within records
	crashes  float64 // the chance of one in each step
	partial  float64 // the chance that a message that may be lost is
	busy     float64 // and that Send takes none just now
	crashed  int
	down     time.Time // no handshake until then
	sessions []*farSession
	written  map[farRecord]int
	at       map[farRecord]time.Time // when it was written first
	givenUp  map[farRecord]bool
	problems []string
	lost     uint64               // gaps in the Sequence Numbers
	stalls   map[uint16]time.Time // streams that stand still until then
	refuses  map[uint16]time.Time // streams that the collector does not take until then
	heard    bool                 // a process that lives is heard, whatever it confirms
	falls    float64              // the chance that a stream is ended in a step
	fallen   int
	wg       sync.WaitGroup
}

// farRecord names a record of the tests.
type farRecord struct{ domain, n uint32 }

// farStep is the time between two looks at what is on its way.
const farStep = 5 * time.Millisecond

type farMessage struct {
	data    []byte
	no      uint64
	arrives time.Time
	lost    bool
}

type farStream struct {
	way       []farMessage
	last      time.Time
	octets    int // on the way
	read      uint64
	confirmed uint64
	lives     int       // how often it began anew
	fell      bool      // the collector has ended it
	rests     time.Time // there is no room before
}

// farSession is a session's exporter end, and what the collector makes of it.
type farSession struct {
	w       *farWorld
	id      uint64
	began   time.Time
	streams []farStream
	tables  map[[2]uint32]*farTable // by domain; by domain and stream where each is a session
	seqs    map[[2]uint32]uint32    // by domain and stream
	pending []farRecord
	busy    bool // the last Send was refused
	taken   uint64
	fates   []transport.Fate
	freed   chan struct{}
	done    chan struct{}
	over    bool
	told    []uint16 // streams that fell
	err     error
	first   map[[2]uint32]bool  // streams that had a Data Record
	nested  map[uint16][]uint16 // Templates by the streams they were told on, until the first data there
}

type farTable struct {
	templates map[uint16]*ipfix.Template
	stream    map[uint16]uint16 // where a Template was defined
	reliable  map[uint16]byte   // what was said of it
}

func (w *farWorld) fault(format string, args ...any) {
	if len(w.problems) < 10 {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

func newFarWorld(seed uint64, props transport.Properties) *farWorld {
	return &farWorld{
		rng: rand.New(rand.NewPCG(seed, 6526)), props: props,
		written: make(map[farRecord]int), at: make(map[farRecord]time.Time), givenUp: make(map[farRecord]bool), stalls: make(map[uint16]time.Time), refuses: make(map[uint16]time.Time),
	}
}

// farTracker is one that tells of its messages.
type farTracker struct{ *farSession }

func (w *farWorld) Dial(ctx context.Context) (transport.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Now().Before(w.down) {
		return nil, errRefused
	}
	s := &farSession{
		w: w, id: uint64(len(w.sessions) + 1), began: time.Now(), streams: make([]farStream, w.props.Streams), tables: make(map[[2]uint32]*farTable),
		seqs: make(map[[2]uint32]uint32), freed: make(chan struct{}, 1), done: make(chan struct{}), first: make(map[[2]uint32]bool), nested: make(map[uint16][]uint16),
	}
	w.sessions = append(w.sessions, s)
	w.wg.Go(s.live) // ends a step after the session
	switch {
	case w.props.Channels:
		return farLaned{s}, nil
	case w.props.Confirms == transport.ConfirmTransport:
		return farTracker{s}, nil
	}
	return s, nil
}

// live moves what is on its way until the session ends.
func (s *farSession) live() {
	for {
		time.Sleep(farStep)
		s.w.mu.Lock()
		if s.over {
			s.w.mu.Unlock()
			return
		}
		s.step()
		s.w.mu.Unlock()
	}
}

func (s *farSession) step() {
	w := s.w
	now := time.Now()
	for _, i := range w.rng.Perm(len(s.streams)) {
		st := &s.streams[i]
		for len(st.way) > 0 && !now.Before(st.way[0].arrives) && !now.Before(w.stalls[uint16(i)]) {
			m := st.way[0]
			st.way = st.way[1:]
			st.octets -= len(m.data)
			st.read += uint64(len(m.data))
			s.fates = append(s.fates, transport.Fate{First: m.no, Last: m.no, Arrived: !m.lost})
			if !m.lost {
				s.receive(m.data, uint16(i))
			} else {
				for _, r := range s.contents(m.data, uint16(i)) {
					w.givenUp[r] = true
				}
			}
			signal(s.freed)
		}
	}
	if w.rng.Float64() < 0.3 {
		s.write()
	}
	s.fall(now)
	if w.rng.Float64() < w.crashes {
		w.crashed++
		w.down = now.Add(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
		for _, o := range w.sessions {
			o.end(errRefused)
		}
	}
}

// write is the sinks' part.
func (s *farSession) write() {
	for _, r := range s.pending {
		if s.w.written[r]++; s.w.written[r] == 1 {
			s.w.at[r] = time.Now()
		}
	}
	s.pending = nil
	for i := range s.streams {
		s.streams[i].confirmed = s.streams[i].read
	}
	signal(s.freed)
}

func (s *farSession) end(err error) {
	if !s.over {
		s.over, s.err = true, err
		close(s.done)
	}
}

// farBuffer is what a stream takes without it moving.
const farBuffer = 16 << 10

func (s *farSession) Send(_ context.Context, batch []transport.Outgoing) (int, error) {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, o := range batch {
		if s.over {
			return i, transport.ErrClosed
		}
		if int(o.Stream) >= len(s.streams) {
			w.fault("stream %d", o.Stream)
			return i, transport.ErrClosed
		}
		st := &s.streams[o.Stream]
		if w.props.Channels && s.room(o.Stream) < len(o.Data) {
			return i, transport.ErrBusy
		}
		// Never twice: who takes nothing for long passes for dead.
		if s.busy = !s.busy && w.rng.Float64() < w.busy; s.busy {
			return i, transport.ErrBusy
		}
		if o.Unreliable && !onlyData(o.Data) {
			w.fault("a message that may be lost holds more than data")
		}
		at := time.Now().Add(time.Duration(w.rng.IntN(60)) * time.Millisecond)
		if at.Before(st.last) {
			at = st.last
		}
		st.last = at
		s.taken++
		st.octets += len(o.Data)
		st.way = append(st.way, farMessage{
			data: append([]byte(nil), o.Data...), no: s.taken, arrives: at, lost: o.Unreliable && w.rng.Float64() < w.partial,
		})
	}
	return len(batch), nil
}

func onlyData(msg []byte) bool {
	for set := range ipfix.Sets(msg) {
		if set.ID < ipfix.MinDataSetID {
			return false
		}
	}
	return true
}

func (s *farSession) MaxMessage() int { return 1200 }

func (s *farSession) Properties() transport.Properties { return s.w.props }

func (s *farSession) Peer() transport.Peer {
	return transport.Peer{Identity: "collector", Session: s.id, Remote: netip.MustParseAddrPort("127.0.0.1:4740")}
}

// sent reports whether all that was taken has come, and how much that is.
func (s *farSession) sent() bool {
	for i := range s.streams {
		if len(s.streams[i].way) > 0 {
			return false
		}
	}
	return true
}

func (s *farSession) Probe(ctx context.Context) error {
	s.w.mu.Lock()
	var upTo []uint64
	var lives []int
	for i := range s.streams {
		upTo = append(upTo, s.streams[i].read+uint64(s.streams[i].octets))
		lives = append(lives, s.streams[i].lives)
	}
	s.w.mu.Unlock()
	for {
		s.w.mu.Lock()
		here := true
		for i := range s.streams {
			here = here && (s.streams[i].read >= upTo[i] || s.streams[i].fell || s.streams[i].lives != lives[i])
		}
		if here && !s.over {
			s.write()
			s.w.mu.Unlock()
			return nil
		}
		s.w.mu.Unlock()
		select {
		case <-time.After(farStep):
		case <-s.done:
			return transport.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *farSession) Done() <-chan struct{} { return s.done }

func (s *farSession) Err() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.err
}

// Close delivers what is on its way first.
func (s *farSession) Close(ctx context.Context) error {
	for {
		s.w.mu.Lock()
		if s.over || s.sent() || ctx.Err() != nil {
			if !s.over && ctx.Err() == nil {
				s.write()
			}
			s.end(nil)
			s.w.mu.Unlock()
			return nil
		}
		s.w.mu.Unlock()
		select {
		case <-time.After(farStep):
		case <-ctx.Done():
		}
	}
}

func (s *farSession) Stats() transport.SessionStats {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	st := transport.SessionStats{}
	if s.w.heard && !s.over {
		st.Heard = uint64(time.Since(s.began)/(100*time.Millisecond)) + 1
	}
	return st
}

// Fates implements transport.Tracker.
func (s farTracker) Fates(dst []transport.Fate) []transport.Fate {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	dst = append(dst, s.fates...)
	s.fates = s.fates[:0]
	return dst
}
