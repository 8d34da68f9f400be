package dtls

import (
	"bytes"
	"context"
	"errors"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// probeLen is the payload of a probe: random, so that no answer to another
// one can be taken for its answer.
const probeLen = 16

// Probe implements transport.Session by a heartbeat request, repeated on an
// unreliable carrier until it is answered or ctx ends (RFC 6520, Section 3).
func (s *session) Probe(ctx context.Context) error {
	// A peer that announced peer_not_allowed_to_send must not be sent any
	// (RFC 6520, Section 2, MUST).
	if s.mode != heartbeat.PeerAllowed {
		return transport.ErrNoProbe
	}
	select {
	case <-s.probing:
	case <-s.done:
		return s.sendErr()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.probing <- struct{}{} }()

	payload := newPayload()
	answer := make(chan struct{})
	now := time.Now()
	if s.path.raising(now) {
		s.resetCarrier()
	}
	padded := s.path.begin(now, s.carrier())
	s.tellPath()
	s.pmu.Lock()
	s.payload, s.answer = payload, answer
	s.pmu.Unlock()
	defer func() {
		s.pmu.Lock()
		s.payload, s.answer = nil, nil
		s.pmu.Unlock()
	}()
	s.timer.Start(time.Now())
	defer s.timer.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		var err error
		select {
		case <-answer:
		case <-s.done:
			err = s.sendErr()
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-wake.C:
		}
		// An answer counts though the end came right behind it.
		select {
		case <-answer:
			// The loss of a padded request measures neither time nor the network.
			if !s.path.lost() {
				s.timer.Answered(time.Now())
			}
			s.rtt.Store(int64(s.timer.RTT()))
			s.pings.answered.Add(1)
			return nil
		default:
			if err != nil {
				return err
			}
		}
		now := time.Now()
		if s.timer.Due(now) {
			// The first one may be padded; what the system refuses for its size
			// is followed by a plain one at once.
			if padded == nil || s.request(padded, s.path.padding(s.sealer.Overhead())) != nil {
				err := s.request(payload, heartbeat.MinPadding)
				if errors.Is(err, transport.ErrClosed) || errors.Is(err, record.ErrExhausted) {
					return s.sendErr()
				}
			}
			padded = nil
		}
		if next := s.timer.Next(); !next.IsZero() {
			wake.Reset(next.Sub(now))
		}
	}
}

// request sends a heartbeat request. An error is as good as a loss.
func (s *session) request(payload []byte, padding int) error {
	s.pings.sent.Add(1)
	err := s.sendPadded(heartbeat.Message{Type: heartbeat.Request, Payload: payload}, padding)
	if err != nil {
		s.fails.Add(1)
	}
	return err
}

// answered ends the probe that awaits this payload; false: none does.
func (s *session) answered(payload []byte) bool {
	s.pmu.Lock()
	defer s.pmu.Unlock()
	plain := s.payload != nil && bytes.Equal(payload, s.payload)
	if !plain && !s.path.answered(payload, time.Now(), s.carrier()) {
		return false
	}
	if plain {
		s.path.outrun()
	}
	if s.payload != nil {
		s.payload = nil
		close(s.answer)
	}
	return true
}

func (s *session) heartbeat(content []byte) {
	m, err := heartbeat.Parse(content)
	if err != nil {
		s.drops.add(dropHeartbeat)
		return
	}
	if m.Type == heartbeat.Response {
		if !s.answered(m.Payload) {
			s.drops.add(dropHeartbeat)
		}
		return
	}
	s.pings.received.Add(1)
	// Who was told not to send is not answered (RFC 6520, Section 4).
	if !s.answers {
		s.drops.add(dropHeartbeat)
		return
	}
	m.Type = heartbeat.Response
	if s.sendHeartbeat(m) == nil {
		s.pings.answers.Add(1)
	}
}
