package export

import (
	"context"
	"slices"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// simSession is the exporter's end. Its testSession insists that Templates are
// sent before data; here is what becomes of it on the way.
type simSession struct {
	*testSession
	w        *simWorld
	epoch    int
	receiver transport.Receiver
	barrier  time.Time // when the last request to arrive was first sent
	confirms time.Time // up to when its answer confirms what was sent
	rtt      heartbeat.RTT
	gone     bool // it is over at the collector
	left     bool // since the exporter said so
	messages []*simMessage
	known    map[uint16]time.Time // Templates, since when the collector has them
}

// simPatience is how long the collector lets nothing be confirmed because of
// data whose Template has not come.
const simPatience = 5 * time.Second

// simMessage is one that was sent.
type simMessage struct {
	data    []byte
	records []int  // without those about the export
	all     uint32 // how many there are with those
	sent    time.Time
	arrived bool
	at      time.Time
}

// sets calls f for each Template that the message defines, and for each that its
// data needs.
func (m *simMessage) sets(defines, needs func(id uint16)) {
	for set, err := range ipfix.Sets(m.data) {
		switch {
		case err != nil:
			return
		case set.ID >= ipfix.MinDataSetID:
			needs(set.ID)
		default:
			for rec, err := range ipfix.ParseTemplates(set.ID, set.Body) {
				if err == nil {
					defines(rec.ID)
				}
			}
		}
	}
}

// close ends the session at the collector.
func (s *simSession) close() {
	s.gone = true
	s.receiver.Closed(nil)
}

func (s *simSession) Send(ctx context.Context, batch []transport.Outgoing) (int, error) {
	for i := range batch {
		h, err := ipfix.ParseHeader(batch[i].Data)
		if err != nil {
			return i, err
		}
		before := len(numbers(s.domain()))
		if n, err := s.testSession.Send(ctx, batch[i:i+1]); n == 0 {
			return i, err
		}
		d := s.domain()
		s.w.mu.Lock()
		m := &simMessage{data: slices.Clone(batch[i].Data), records: numbers(d)[before:], all: d.next - h.Sequence, sent: time.Now()}
		s.messages = append(s.messages, m)
		if s.w.later(func() { s.arrive(m) }) {
			s.w.note(s.w.lost, m.records)
		}
		s.w.step()
		s.w.mu.Unlock()
	}
	return len(batch), nil
}

func (s *simSession) domain() *testDomain {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.domains[0] == nil {
		return &testDomain{}
	}
	return s.domains[0]
}

func (s *simSession) arrive(m *simMessage) {
	if m.arrived {
		return // DTLS lets no copy through
	}
	if s.left {
		s.w.note(s.w.lost, m.records) // the network had it for too long
	}
	if !s.barrier.IsZero() && !m.sent.After(s.barrier) {
		s.w.overtaken += len(m.records)
	}
	if !s.confirms.IsZero() && !m.sent.After(s.confirms) {
		s.w.note(s.w.late, m.records) // and further behind than is waited for
	}
	if s.w.epoch == s.epoch && !s.gone {
		m.arrived, m.at = true, time.Now()
		m.sets(func(id uint16) {
			if s.known[id].IsZero() {
				s.known[id] = m.at
			}
		}, func(uint16) {})
		s.receiver.Message(transport.Incoming{Data: m.data, Received: time.Now()})
	}
}

func (s *simSession) Probe(ctx context.Context) error {
	answer := make(chan struct{}, 64)
	begun := time.Now()
	confirms := begun.Add(-min(settle+2*s.Stats().RTT, maxSettle))
	written := func() { // the collector's answer leaves it
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		if s.w.epoch != s.epoch || s.gone {
			return
		}
		s.w.step()
		if s.w.epoch == s.epoch {
			s.w.later(func() { answer <- struct{}{} })
		}
	}
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		s.w.mu.Lock()
		s.w.step()
		s.w.later(func() {
			if s.w.epoch != s.epoch || s.gone {
				return
			}
			if begun.After(s.barrier) {
				s.barrier = begun
			}
			if confirms.After(s.confirms) {
				s.confirms = confirms
			}
			s.receiver.Barrier(func() { s.w.wg.Go(written) })
		})
		s.w.mu.Unlock()
		select {
		case <-answer:
			s.mu.Lock()
			s.answered++
			s.rtt.Sample(time.Since(begun))
			s.mu.Unlock()
			return nil
		case <-s.done:
			return transport.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (s *simSession) Stats() transport.SessionStats {
	st := s.testSession.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.RTT = s.rtt.Mean()
	return st
}

func (s *simSession) Close(ctx context.Context) error {
	s.fail(nil)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.later(func() {
		if s.w.epoch == s.epoch && !s.gone {
			s.close()
			s.left = true
		}
	})
	return nil
}
