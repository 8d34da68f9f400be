package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// The steps of RFC 4340, Section 8.5, one by one. Step 1 is package wire's.

// forge is a packet to s as its peer might send it: the next number, and an
// acknowledgement of the last packet that s sent.
func forge(s *side, t wire.Type) *wire.Packet {
	p := &wire.Packet{SrcPort: s.c.ports.Remote, DstPort: s.c.ports.Local, Type: t, Seq: s.c.gsr.Add(1)}
	if t.HasAck() {
		p.Ack = s.c.gss
	}
	return p
}

// replies is what s answers to the packet.
func (p *pair) replies(s *side, q *wire.Packet) []*wire.Packet {
	s.packets(p.now)
	s.handle(p.now, q)
	return s.packets(p.now)
}

// want checks a single packet; nil: none at all.
func want(t *testing.T, got []*wire.Packet, kind wire.Type, ack wire.Seq) *wire.Packet {
	t.Helper()
	if len(got) != 1 || got[0].Type != kind || got[0].Ack != ack {
		t.Fatalf("answered %v; want one %v that acknowledges %d", summary(got), kind, ack)
	}
	return got[0]
}

func wantNone(t *testing.T, got []*wire.Packet) {
	t.Helper()
	if len(got) != 0 {
		t.Fatalf("answered %v; want nothing", summary(got))
	}
}

func summary(ps []*wire.Packet) []string {
	var s []string
	for _, p := range ps {
		s = append(s, p.Type.String()+" "+p.Code.String())
	}
	return s
}

// idle lets so much time pass that the connection no longer counts as active.
func (p *pair) idle() { p.now = p.now.Add(time.Minute) }

// responding is a pair whose server has sent its Response, which is lost.
func responding(t *testing.T) *pair {
	t.Helper()
	p := newPair(t, plainConfig(), plainConfig())
	p.lose = func(toServer bool, _ *wire.Packet) bool { return !toServer }
	p.exchange()
	p.wantStates(StateRequest, StateRespond)
	p.lose = nil
	return p
}

// inState is a pair with one side in the state.
func inState(t *testing.T, state State) (*pair, *side) {
	t.Helper()
	silent := func(bool, *wire.Packet) bool { return true }
	switch state {
	case StateRespond:
		p := responding(t)
		return p, &p.b
	case StatePartOpen:
		p := newPair(t, plainConfig(), plainConfig())
		p.lose = func(toServer bool, q *wire.Packet) bool { return toServer && q.Type != wire.Request }
		p.exchange()
		p.lose = nil
		return p, &p.a
	}
	p := opened(t, plainConfig(), plainConfig())
	s := &p.a
	p.lose = silent
	switch state {
	case StateCloseReq:
		s = &p.b
		s.c.Close(p.now)
	case StateClosing:
		s.c.Close(p.now)
	}
	p.exchange()
	p.lose = nil
	if s.c.State() != state {
		t.Fatalf("%v, want %v", s.c.State(), state)
	}
	return p, s
}

// option is the data of the packet's first option of a type, nil without.
func option(p *wire.Packet, t wire.OptionType) []byte {
	for r := wire.ReadOptions(p.Options); r.Next(); {
		if r.Option.Type == t {
			return r.Option.Data
		}
	}
	return nil
}
