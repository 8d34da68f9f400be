package export

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/transport"
)

// simWorld is a collector that crashes behind a network that loses, doubles,
// delays and reorders. Exporter and Collector are the real ones.
type simWorld struct {
	mu  sync.Mutex
	rng *rand.Rand

	loss, dup float64
	delay     time.Duration // one way
	jitter    time.Duration
	crashes   float64 // the chance of one in each step
	stops     float64 // of an end in order

	epoch    int // of the collector's process; 0: it is down
	epochs   int
	sessions []*simSession
	handling int // handshakes under way
	most     int
	dials    []time.Time

	collector *collect.Collector // of the process; it ends when the process does
	sink      *simSink
	durable   *simDisk
	lost      map[int]bool // by the network, each time
	late      map[int]bool // overtaken by a probe that confirmed it
	overtaken int          // records that came behind a later probe
	crashed   int
	stopped   int
	told      collect.SequenceStats // by the processes that ended in order
	wg        sync.WaitGroup
}

// simDisk is what survives.
type simDisk struct {
	mu      sync.Mutex
	written map[int]int // how often each record
}

// simSink is the output of one process of the collector.
type simSink struct {
	disk   *simDisk
	mu     sync.Mutex
	memory []int
	dead   bool
}

func (s *simSink) Write(b *record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r ipfix.Records
	for r.Reset(b.Template, b.Body); r.Next(); {
		s.memory = append(s.memory, int(r.Value(0).Num)) // packetDeltaCount
	}
	return r.Err()
}

func (s *simSink) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errRefused
	}
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	for _, n := range s.memory {
		s.disk.written[n]++
	}
	s.memory = nil
	return nil
}

func (s *simSink) Close() error { return s.Flush() }

func (s *simSink) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

func (w *simWorld) chance(p float64) bool { return w.rng.Float64() < p }

func (w *simWorld) trip() time.Duration {
	return w.delay + time.Duration(w.rng.Float64()*float64(w.jitter))
}

// step is a moment at which the collector may crash.
func (w *simWorld) step() {
	if w.epoch != 0 && w.chance(w.crashes) {
		w.crash()
	}
	if w.epoch != 0 && w.stops > 0 && w.chance(w.stops) {
		w.stop()
	}
}

// begin starts the collector's process.
func (w *simWorld) begin() {
	w.epochs++
	w.epoch = w.epochs
	w.sink = &simSink{disk: w.durable}
	w.collector = collect.New(collect.Config{Sinks: []collect.Sink{w.sink}})
}

// stop ends the collector in order: what it read is written, and the sessions
// are told.
func (w *simWorld) stop() {
	for _, s := range w.sessions {
		if s.epoch != w.epoch || s.gone {
			continue
		}
		s.close()
		w.later(func() { s.fail(transport.ErrPeerClosed) })
	}
	w.stopped++
	w.account()
	w.restart()
}

// account ends the process and takes down what it knows.
func (w *simWorld) account() {
	_ = w.collector.Close(context.Background()) // nothing can fail here
	st := w.collector.Stats()
	w.told.Lost += st.Sequence.Lost
	w.told.Late += st.Sequence.Late
	w.told.Duplicate += st.Sequence.Duplicate
	w.told.Unreadable += st.Sequence.Unreadable
}

func (w *simWorld) crash() {
	w.crashed++
	w.sink.kill()
	c := w.collector
	w.wg.Go(func() { _ = c.Close(context.Background()) }) // its goroutines; it has no sink any more
	w.restart()
}

func (w *simWorld) restart() {
	w.epoch = 0
	down := time.Duration(w.rng.Float64() * w.rng.Float64() * float64(8*time.Second))
	w.wg.Go(func() {
		time.Sleep(down)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.begin()
	})
}

// later runs f at the other end, or never.
func (w *simWorld) later(f func()) (lost bool) {
	if w.chance(w.loss) {
		return true
	}
	copies := 1
	if w.chance(w.dup) {
		copies = 2
	}
	for range copies {
		d := w.trip()
		w.wg.Go(func() {
			time.Sleep(d)
			w.mu.Lock()
			defer w.mu.Unlock()
			f()
		})
	}
	return false
}

func (w *simWorld) Dial(ctx context.Context) (transport.Session, error) {
	w.mu.Lock()
	w.dials = append(w.dials, time.Now())
	w.handling++
	open := w.handling
	for _, s := range w.sessions {
		if !ended(s) {
			open++
		}
	}
	w.most = max(w.most, open)
	w.step()
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.handling--
		w.mu.Unlock()
	}()
	for flight, wait := 0, 200*time.Millisecond; flight < 2; {
		w.mu.Lock()
		d := w.trip() + w.trip()
		ok := w.epoch != 0 && !w.chance(2*w.loss)
		w.mu.Unlock()
		if ok {
			flight++
		} else {
			d, wait = wait, 2*wait
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoch == 0 {
		return nil, errRefused
	}
	s := &simSession{testSession: newTestSession(uint64(len(w.sessions)+1), dtlsLike, 500), w: w, epoch: w.epoch, known: make(map[uint16]time.Time)}
	r, err := w.collector.Open(transport.Peer{Identity: "exporter", Session: s.id, Scheme: "dtls+udp"}, dtlsLike)
	if err != nil {
		return nil, err
	}
	s.receiver = r
	w.sessions = append(w.sessions, s)
	w.step()
	return s, nil
}

func (w *simWorld) note(set map[int]bool, records []int) {
	for _, n := range records {
		set[n] = true
	}
}

// unreadable are the records that came, but whose Template the network lost each
// time for as long as they were waited for.
func (w *simWorld) unreadable() map[int]bool {
	set := make(map[int]bool)
	for _, s := range w.sessions {
		for _, m := range s.messages {
			m.sets(func(uint16) {}, func(id uint16) {
				if at := s.known[id]; m.arrived && (at.IsZero() || at.Sub(m.at) > simPatience-time.Second) {
					w.note(set, m.records)
				}
			})
		}
	}
	return set
}

// unarrived is how many records did not arrive: on sessions where something
// came after them, so that the collector can know, and with no such message.
func (w *simWorld) unarrived() (told, silent uint64) {
	for _, s := range w.sessions {
		var tail uint64
		for _, m := range s.messages {
			if m.arrived {
				told, tail = told+tail, 0
			} else {
				tail += uint64(m.all)
			}
		}
		silent += tail
	}
	return told, silent
}
