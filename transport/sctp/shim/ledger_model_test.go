package shim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

// The ledger agrees with a plain model of it under random traffic: messages
// entered, cut, lost, retransmitted, acknowledged in any order, given up.
func TestLedger_Model(t *testing.T) {
	for n := range 200 {
		t.Run(fmt.Sprint(n), func(t *testing.T) { modelRun(t, rand.New(rand.NewPCG(uint64(n), 1))) })
	}
}

// modelMessage is a message in the model: the TSNs of its chunks.
type modelMessage struct {
	tsns   []uint32
	chunks int
	failed bool
	over   time.Time
}

func modelRun(t *testing.T, r *rand.Rand) {
	s := newSender(t, 4, true)
	var (
		messages []modelMessage
		received = map[uint32]bool{} // at the peer
		skipped  uint32              // the peer's cumulative point
		cut      = 0
	)
	base := uint32(0xFFFFFFF0)
	skipped = base - 1
	settledWant := func() (n uint64) {
		for _, m := range messages {
			if len(m.tsns) < m.chunks || !done(m, skipped) {
				break
			}
			n++
		}
		return n
	}
	send := func(tsn uint32, m *modelMessage, flags byte, stream uint16) {
		if _, ok := s.transmit(t, wire.Data{Flags: flags, TSN: tsn, Stream: stream, User: []byte("abcd")}); ok {
			if m.failed {
				t.Fatalf("TSN %x sent of a message given up", tsn)
			}
			if r.IntN(3) > 0 {
				received[tsn] = true
			}
		} else if !after(tsn, skipped) {
			return
		} else if m.over.IsZero() || s.now.Before(m.over) {
			t.Fatalf("TSN %x of a message in time was taken out", tsn)
		}
	}
	streamOf := func(i int) uint16 { return uint16(i % 4) }
	for range 400 {
		s.now = s.now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		switch r.IntN(5) {
		case 0: // enter
			m := modelMessage{chunks: 1 + r.IntN(3)}
			e := Message{Stream: streamOf(len(messages)), Unordered: r.IntN(2) == 0, Size: 4 * m.chunks, Tag: uint32(len(messages))}
			if r.IntN(2) == 0 {
				m.over = s.now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
				e.Deadline = m.over
			}
			s.a.Enter(&e)
			messages = append(messages, m)
		case 1: // cut the next chunk
			if cut < len(messages) {
				m := &messages[cut]
				flags := byte(0)
				if len(m.tsns) == 0 {
					flags |= wire.FlagBegin
				}
				m.tsns = append(m.tsns, s.tsn)
				s.tsn++
				if len(m.tsns) == m.chunks {
					flags |= wire.FlagEnd
				}
				send(m.tsns[len(m.tsns)-1], m, flags, streamOf(cut))
				if len(m.tsns) == m.chunks {
					cut++
				}
			}
		case 2: // retransmit something
			if len(messages) > 0 {
				i := r.IntN(len(messages))
				m := &messages[i]
				if len(m.tsns) > 0 {
					k := r.IntN(len(m.tsns))
					flags := byte(0)
					if k == 0 {
						flags |= wire.FlagBegin
					}
					if k == m.chunks-1 {
						flags |= wire.FlagEnd
					}
					send(m.tsns[k], m, flags, streamOf(i))
				}
			}
		case 3: // the peer takes a FORWARD TSN
			for _, p := range packets(t, s.a) {
				if c, ok := chunkOf(p, wire.ForwardTSN); ok {
					point := binary.BigEndian.Uint32(c.Value)
					for tsn := skipped + 1; !after(tsn, point); tsn++ {
						if !owner(messages, tsn).failed {
							t.Fatalf("skips TSN %x, which was not given up", tsn)
						}
					}
					if after(point, skipped) {
						skipped = point
					}
				}
			}
		case 4: // the peer acknowledges
			for received[skipped+1] {
				skipped++
			}
			var gaps []uint16
			for tsn := skipped + 2; after(s.tsn, tsn) && len(gaps) < 20; tsn++ {
				if received[tsn] {
					start := tsn
					for received[tsn+1] {
						tsn++
					}
					gaps = append(gaps, uint16(start-skipped), uint16(tsn-skipped))
				}
			}
			if len(s.sack(skipped, 1000, gaps...)) == 0 {
				t.Fatalf("SACK refused: %v", s.a.Counts().Drops.Map())
			}
			if got, want := s.a.Settled(), settledWant(); got != want {
				t.Fatalf("settled %d, want %d", got, want)
			}
		}
		_, given := events(s.a)
		for _, g := range given {
			m := &messages[g.Number-1]
			if m.failed || m.over.IsZero() || s.now.Before(m.over) || g.Tag != uint32(g.Number-1) {
				t.Fatalf("given up: %+v, %+v", g, m)
			}
			m.failed = true
		}
	}
	if s.a.End().Reason != EndNone {
		t.Fatalf("ended: %+v", s.a.End())
	}
}

func done(m modelMessage, skipped uint32) bool {
	return !slices.ContainsFunc(m.tsns, func(tsn uint32) bool { return after(tsn, skipped) })
}

func owner(messages []modelMessage, tsn uint32) *modelMessage {
	for i := range messages {
		if slices.Contains(messages[i].tsns, tsn) {
			return &messages[i]
		}
	}
	return &modelMessage{}
}
