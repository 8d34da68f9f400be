package export

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

var (
	sctpLike  = transport.Properties{Reliable: true, Ordered: true, Streams: 8, Confirms: transport.ConfirmTransport}
	dtlsSCTP  = transport.Properties{Secure: true, Reliable: true, Ordered: true, Streams: 64, Confirms: transport.ConfirmProcess}
	oneStream = transport.Properties{Secure: true, Reliable: true, Ordered: true, Streams: 1, Confirms: transport.ConfirmProcess}
	mtaLike   = transport.Properties{Secure: true, Reliable: true, Ordered: true, Stream: true, Streams: 8, Channels: true, Confirms: transport.ConfirmProcess}
)

// farSpecs make a record whose last field tells what it was packed with.
func farSpecs(k int) []ipfix.FieldSpec {
	return []ipfix.FieldSpec{{ID: ie.ID{Num: 2}, Length: 8}, {ID: ie.ID{PEN: 32473, Num: uint16(k)}, Length: 4}}
}

func farData(n uint32, k int) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(n))
	return binary.BigEndian.AppendUint32(b, uint32(k))
}

// farSource writes to Templates of several Observation Domains, and withdraws
// and defines them as it goes.
type farSource struct {
	t      *testing.T
	e      *Exporter
	rng    *rand.Rand
	shapes int
	slots  [][]farSlot // by domain
	next   []uint32    // by domain
	reused int
}

type farSlot struct {
	t *Template
	k int
}

func newFarSource(t *testing.T, e *Exporter, rng *rand.Rand, domains, templates int) *farSource {
	s := &farSource{t: t, e: e, rng: rng, slots: make([][]farSlot, domains), next: make([]uint32, domains)}
	for d := range s.slots {
		for range templates {
			s.slots[d] = append(s.slots[d], s.define(d))
		}
	}
	return s
}

func (s *farSource) define(d int) farSlot {
	s.shapes++
	t, err := s.e.DefineIn(uint32(d+1), 0, farSpecs(s.shapes))
	if err != nil {
		s.t.Fatal(err)
	}
	return farSlot{t, s.shapes}
}

func (s *farSource) write(d, slot int) {
	s.next[d]++
	f := s.slots[d][slot]
	if err := s.e.Write(s.t.Context(), f.t, farData(s.next[d], f.k)); err != nil {
		s.t.Fatal(err)
	}
}

// replace withdraws a Template and defines another at once.
func (s *farSource) replace(d, slot int) {
	old := s.slots[d][slot].t
	s.e.Withdraw(old)
	s.slots[d][slot] = s.define(d)
	if s.slots[d][slot].t.ID == old.ID {
		s.reused++
	}
}

func (s *farSource) step() {
	d := s.rng.IntN(len(s.slots))
	slot := s.rng.IntN(len(s.slots[d]))
	for range 1 + s.rng.IntN(20) {
		s.write(d, slot)
	}
	if s.rng.IntN(10) == 0 {
		s.replace(d, slot)
	}
}

// missing are records that nobody has written.
func (s *farSource) missing(w *farWorld) (n int) {
	for d, last := range s.next {
		for i := uint32(1); i <= last; i++ {
			if r := (farRecord{uint32(d + 1), i}); w.written[r] == 0 && !w.givenUp[r] {
				n++
			}
		}
	}
	return n
}

// Streams overtake each other, stand still, and the collector crashes, while
// Templates come and go and sessions are replaced: with each policy no Data
// Record overtakes its Template or is read by another's, none is lost, the
// Sequence Numbers of each stream have no gap (RFC 7011, Section 3.1), and the
// rules of RFC 6526 are kept where they hold.
func TestStreams_Simulation(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() || raceEnabled {
		seeds = 8
	}
	for _, tc := range []struct {
		name  string
		props transport.Properties
	}{{"sctp", sctpLike}, {"dtls+sctp", dtlsSCTP}, {"one stream", oneStream}, {"mta", mtaLike}} {
		for _, policy := range []Streams{StreamsOfTransport, SingleStream, StreamPerDomain, StreamPerTemplate} {
			t.Run(fmt.Sprintf("%s/%v", tc.name, policy), func(t *testing.T) {
				t.Parallel()
				rotations, crashes, reused := uint64(0), 0, 0
				for seed := range seeds {
					synctest.Test(t, func(t *testing.T) {
						w := newFarWorld(seed, tc.props)
						w.perRules = policy == StreamPerTemplate && !tc.props.Channels
						w.busy = float64(seed%3) / 20
						rng := rand.New(rand.NewPCG(seed, 1))
						cfg := Config{Dialer: w, Streams: policy, Rotate: time.Duration(1+rng.IntN(3)) * time.Second, MaxDelay: 20 * time.Millisecond, StatsInterval: time.Second}
						if seed%4 == 3 {
							cfg.SpoolDir, cfg.SpoolRate, cfg.QueueBytes = t.TempDir(), -1, 16<<10
						}
						if seed%2 == 1 {
							w.crashes = 0.0005
						}
						e := start(t, cfg)
						s := newFarSource(t, e.Exporter, rng, 1+rng.IntN(6), 1+rng.IntN(6))
						var moves time.Time
						for range 200 {
							s.step()
							// Never so long that the collector passes for dead.
							if rng.IntN(10) == 0 && time.Now().After(moves.Add(time.Second)) {
								moves = time.Now().Add(time.Duration(rng.IntN(1500)) * time.Millisecond)
								w.mu.Lock()
								w.stalls[uint16(rng.IntN(8))] = moves
								w.mu.Unlock()
							}
							time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
						}
						w.mu.Lock()
						w.crashes = 0
						w.mu.Unlock()
						if err := e.close(time.Minute); err != nil {
							t.Errorf("seed %d: %v", seed, err)
						}
						w.wg.Wait()
						sum := e.Summary()
						if n := s.missing(w); n > 0 || w.lost > 0 || len(w.problems) > 0 {
							t.Errorf("seed %d: %d records missing, gaps of %d, %d crashes, %d rotations: %q", seed, n, w.lost, w.crashed, sum.Rotations, w.problems)
						}
						if w.crashed == 0 && sum.CollectorsLost > 0 {
							t.Errorf("seed %d: %d sessions lost without a crash", seed, sum.CollectorsLost)
						}
						rotations, crashes, reused = rotations+sum.Rotations, crashes+w.crashed, reused+s.reused
					})
					if t.Failed() {
						return
					}
				}
				t.Logf("%d seeds: %d rotations, %d crashes, %d ids reused at once", seeds, rotations, crashes, reused)
				if (reused > 0) != (policy == StreamPerTemplate) {
					t.Errorf("%d ids reused at once", reused)
				}
			})
		}
	}
}

// A stream that stands still keeps none of the others waiting, though its
// window and its share of the queue are full.
func TestStreams_OneStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFarWorld(1, mtaLike)
		e := start(t, Config{Dialer: w, MaxDelay: 10 * time.Millisecond, QueueBytes: 256 << 10, StatsInterval: -1})
		s := newFarSource(t, e.Exporter, rand.New(rand.NewPCG(1, 1)), 3, 1)
		for d := range s.slots {
			s.write(d, 0)
		}
		time.Sleep(500 * time.Millisecond)
		// The domains' streams are 1, 2 and 3: the one of the first stands still.
		began := time.Now()
		w.mu.Lock()
		w.stalls[1] = began.Add(2 * time.Second)
		w.mu.Unlock()
		refused := 0
		for range 100 {
			for range 40 {
				s.next[0]++
				if !s.e.Offer(s.slots[0][0].t, farData(s.next[0], s.slots[0][0].k)) {
					refused++
					w.givenUp[farRecord{1, s.next[0]}] = true
				}
				s.write(1, 0)
				s.write(2, 0)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(400 * time.Millisecond)
		w.mu.Lock()
		here, behind := 0, 0
		for d := uint32(2); d <= 3; d++ {
			for i := uint32(1); i <= s.next[d-1]; i++ {
				if w.written[farRecord{d, i}] > 0 {
					here++
				}
			}
		}
		for i := uint32(1); i <= s.next[0]; i++ {
			if w.written[farRecord{1, i}] > 0 {
				behind++
			}
		}
		w.mu.Unlock()
		if here != 8002 || behind != 1 {
			t.Errorf("beside a stream that stands still %d of 8002 records came, of its own %d", here, behind)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := e.Flush(ctx); err != nil {
			t.Error(err)
		}
		if at := time.Since(began); at < 2*time.Second {
			t.Errorf("flushed after %v, before the stream went on", at)
		}
		s.write(0, 0) // shows the gap
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		w.wg.Wait()
		if n := s.missing(w); n > 0 || len(w.problems) > 0 || w.lost != uint64(refused) || e.Summary().CollectorsLost > 0 {
			t.Errorf("%d records missing, gaps of %d for %d refused, %q, %+v", n, w.lost, refused, w.problems, e.Summary())
		}
	})
}

// Where it was asked for, messages of nothing but flow records may be lost: what
// the transport gives up is a gap in the Sequence Numbers of its stream, also at
// a session's end, and nowhere sent again (RFC 7011, Sections 10.2.2 and 10.2.6).
func TestStreams_PartialReliability_RFC7011_10_2_6(t *testing.T) {
	for _, props := range []transport.Properties{sctpLike, dtlsSCTP} {
		for _, policy := range []Streams{SingleStream, StreamPerDomain, StreamPerTemplate} {
			t.Run(fmt.Sprintf("%d streams/%v", props.Streams, policy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newFarWorld(7, props)
					w.props.Partial, w.partial, w.busy = true, 0.2, 0.2
					w.perRules = policy == StreamPerTemplate
					rng := rand.New(rand.NewPCG(7, 2))
					e := start(t, Config{Dialer: w, Streams: policy, Rotate: 2 * time.Second, MaxDelay: 20 * time.Millisecond, StatsInterval: time.Second})
					s := newFarSource(t, e.Exporter, rng, 3, 3)
					for range 300 {
						s.step()
						time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
					}
					if err := e.close(time.Minute); err != nil {
						t.Error(err)
					}
					w.wg.Wait()
					sum := e.Summary()
					if s.missing(w) > 0 || len(w.problems) > 0 || len(w.givenUp) == 0 || sum.Rotations == 0 {
						t.Errorf("%d missing, %d given up, %q", s.missing(w), len(w.givenUp), w.problems)
					}
					if n := uint64(len(w.givenUp)); w.lost != n || sum.RecordsGivenUp > n || sum.RecordsReplayed > 0 || sum.RecordsDropped > 0 || sum.CollectorsLost > 0 {
						t.Errorf("%d given up, gaps of %d: %+v", n, w.lost, sum)
					}
					for r := range w.givenUp {
						if w.written[r] > 0 {
							t.Errorf("record %v was given up and came", r)
						}
					}
					for _, session := range w.sessions {
						for key, table := range session.tables {
							for id, said := range table.reliable {
								want := byte(isFalse)
								if p := table.templates[id]; p == nil || p.Scope > 0 {
									want = isTrue
								}
								if said != want {
									t.Errorf("domain %d, template %d: reliability %d, want %d", key[0], id, said, want)
								}
							}
						}
					}
				})
			})
		}
	}
}

// What records refer to is told on their stream as well: Templates of the
// records that they hold, before any data.
func TestStreams_NestedTemplates_RFC6526_4_2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFarWorld(3, dtlsSCTP)
		w.perRules, w.nests = true, true
		e := start(t, Config{Dialer: w, Streams: StreamPerTemplate, MaxDelay: 20 * time.Millisecond, StatsInterval: -1})
		inner, err := e.Define(0, farSpecs(1))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the session begins with these
		outer, err := e.Define(0, []ipfix.FieldSpec{{ID: ie.ID{Num: 2}, Length: 8}, {ID: ie.ID{Num: 292}, Length: ipfix.VariableLength}})
		if err != nil {
			t.Fatal(err)
		}
		rec, err := outer.AppendRecord(nil, []ipfix.Value{{Num: 1}, {View: binary.BigEndian.AppendUint16([]byte{3}, inner.ID)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Write(t.Context(), outer, rec); err != nil {
			t.Fatal(err)
		}
		e.Rotate(rotation.Demand)
		time.Sleep(time.Second)
		if err := e.Write(t.Context(), outer, rec); err != nil {
			t.Fatal(err)
		}
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		w.wg.Wait()
		if len(w.problems) > 0 || len(w.sessions) != 2 || len(w.sessions[0].seqs) == 0 || len(w.sessions[1].seqs) == 0 {
			t.Errorf("%d sessions: %q", len(w.sessions), w.problems)
		}
	})
}

// What waits in the spool comes out of it with another way to spread it: a
// message of several Templates goes on as one for each.
func TestStreams_SpooledByAnother(t *testing.T) {
	for _, tc := range [][2]Streams{{SingleStream, StreamPerTemplate}, {StreamPerTemplate, SingleStream}, {StreamPerTemplate, StreamPerTemplate}} {
		t.Run(fmt.Sprintf("%v, then %v", tc[0], tc[1]), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				e := start(t, Config{Dialer: &testDialer{}, Streams: tc[0], SpoolDir: dir, StatsInterval: -1})
				s := newFarSource(t, e.Exporter, rand.New(rand.NewPCG(9, 9)), 2, 4)
				for i := range 400 {
					s.write(i%2, i%4)
				}
				s.replace(0, 0)
				for i := range 400 {
					s.write(i%2, (i/2)%4)
				}
				time.Sleep(3 * time.Second)
				if err := e.close(time.Second); err != nil {
					t.Error(err)
				}
				w := newFarWorld(9, dtlsSCTP)
				w.perRules = tc[1] == StreamPerTemplate
				e = start(t, Config{Dialer: w, Streams: tc[1], SpoolDir: dir, StatsInterval: -1})
				time.Sleep(3 * time.Second)
				if err := e.close(time.Minute); err != nil {
					t.Error(err)
				}
				w.wg.Wait()
				if n := s.missing(w); n > 0 || w.lost > 0 || len(w.problems) > 0 || len(w.written) != 800 {
					t.Errorf("%d of 800 records missing, gaps of %d: %q", n, w.lost, w.problems)
				}
				emptySpool(t, dir)
			})
		})
	}
}

// A plain session that its peer shuts down in order while it drains may be one
// whose process was killed: what it carried lately goes out again.
func TestStreams_ShutDownWhileItDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFarWorld(4, sctpLike)
		e := start(t, Config{Dialer: w, MaxDelay: 10 * time.Millisecond, StatsInterval: -1})
		s := newFarSource(t, e.Exporter, rand.New(rand.NewPCG(1, 1)), 1, 1)
		for range 100 {
			s.write(0, 0)
		}
		time.Sleep(1200 * time.Millisecond)
		e.Rotate(rotation.Demand)
		time.Sleep(500 * time.Millisecond)
		w.mu.Lock()
		if len(w.sessions) != 2 || w.sessions[0].over {
			t.Errorf("%d sessions", len(w.sessions))
		}
		clear(w.written) // what the process had is gone
		w.sessions[0].end(transport.ErrPeerClosed)
		w.mu.Unlock()
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		w.wg.Wait()
		if n := s.missing(w); n > 0 || len(w.problems) > 0 || e.Summary().RecordsReplayed != 100 {
			t.Errorf("%d records missing, %q, %+v", n, w.problems, e.Summary())
		}
	})
}

// However many Templates are written to at a time, few messages are open.
func TestStreams_OpenMessagesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFarWorld(5, sctpLike)
		w.perRules = true
		e := start(t, Config{Dialer: w, Streams: StreamPerTemplate, StatsInterval: -1})
		s := newFarSource(t, e.Exporter, rand.New(rand.NewPCG(1, 1)), 1, maxOpen+200)
		for range 2 {
			for slot := range s.slots[0] {
				s.write(0, slot)
			}
		}
		e.mu.Lock()
		if n := len(e.packing); n > maxOpen {
			t.Errorf("%d messages are open", n)
		}
		e.mu.Unlock()
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		w.wg.Wait()
		if n := s.missing(w); n > 0 || w.lost > 0 || len(w.problems) > 0 {
			t.Errorf("%d records missing, gaps of %d: %q", n, w.lost, w.problems)
		}
	})
}
