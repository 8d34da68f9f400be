package sctp

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// probeLen is the payload of a heartbeat request: random, so that no answer to
// another one can be taken for its answer.
const probeLen = 16

// probe is a session's question for a sign of life.
type probe struct {
	asking turn // RFC 6520 allows one request in flight

	mu      sync.Mutex
	payload []byte        // awaited
	answer  chan struct{} // closed when it came

	sent, answered, received, answers atomic.Uint64
}

func (p *probe) init() { p.asking = newTurn() }

// Probe implements transport.Session: under DTLS by a heartbeat request (RFC
// 6520), which the peer's process answers, else by one of SCTP, which its host
// does.
func (s *session) Probe(ctx context.Context) error {
	if err := s.probe.asking.take(ctx); err != nil {
		return err
	}
	defer s.probe.asking.give()
	if s.props.Confirms != transport.ConfirmProcess {
		s.probe.sent.Add(1)
		if err := s.assoc.Heartbeat(ctx); err != nil {
			return s.probeErr(err)
		}
		s.probe.answered.Add(1)
		return nil
	}
	payload := make([]byte, probeLen)
	rand.Read(payload)
	answer := make(chan struct{})
	s.probe.expect(payload, answer)
	defer s.probe.expect(nil, nil)
	if err := s.ask(ctx, payload); err != nil {
		return s.probeErr(err)
	}
	select {
	case <-answer:
	case <-s.done:
	case <-ctx.Done():
	}
	select {
	case <-answer: // an answer counts though the end came right behind it
		s.probe.answered.Add(1)
		return nil
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.probeErr(transport.ErrClosed)
}

// probeErr is the session's end where that was it.
func (s *session) probeErr(err error) error {
	if over := s.over(); over != nil {
		return over
	}
	return err
}

// ask sends a request. What the answer is to confirm has to be there before
// it, also what went on other streams: SCTP orders nothing between streams.
func (s *session) ask(ctx context.Context, payload []byte) error {
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	defer s.turn.give()
	if s.closing {
		return transport.ErrClosed
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.probe.sent.Add(1)
	return s.sendHeartbeat(ctx, heartbeat.Message{Type: heartbeat.Request, Payload: payload})
}

func (p *probe) expect(payload []byte, answer chan struct{}) {
	p.mu.Lock()
	p.payload, p.answer = payload, answer
	p.mu.Unlock()
}

// heard takes an answer; it reports whether it was awaited.
func (p *probe) heard(payload []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.payload == nil || !bytes.Equal(payload, p.payload) {
		return false
	}
	p.payload = nil
	close(p.answer)
	return true
}

// heartbeat takes one of the collector's.
func (s *session) heartbeat(content []byte) {
	m, err := heartbeat.Parse(content)
	switch {
	case err != nil:
		s.strays.Add(1)
	case m.Type == heartbeat.Response:
		if !s.probe.heard(m.Payload) {
			s.strays.Add(1)
		}
	case !s.tls.answers:
		s.strays.Add(1) // who was told not to send is not answered (RFC 6520, Section 4)
	default:
		s.probe.received.Add(1)
		m.Type = heartbeat.Response
		// Who has the turn may wait for this goroutine.
		if s.answer(atOnce, m) == nil {
			s.probe.answers.Add(1)
		}
	}
}

// sendHeartbeat sends one with fresh padding. The caller has the turn.
func (c *carrier) sendHeartbeat(ctx context.Context, m heartbeat.Message) error {
	padding := make([]byte, heartbeat.MinPadding)
	rand.Read(padding)
	b, err := m.AppendBinary(nil, padding)
	if err != nil {
		return err
	}
	return c.sendRecord(ctx, record.Heartbeat, b)
}

// answer sends a response if there is room for it, having waited for the turn
// at most as wait allows: it runs in goroutines that must not wait for the
// network.
func (c *carrier) answer(wait context.Context, m heartbeat.Message) error {
	if err := c.turn.take(wait); err != nil {
		return err
	}
	defer c.turn.give()
	if c.closing {
		return transport.ErrClosed
	}
	return c.sendHeartbeat(atOnce, m)
}

// atOnce is a context that has ended.
var atOnce = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
