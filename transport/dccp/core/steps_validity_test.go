package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

func TestStep6SequenceValidity(t *testing.T) {
	// Windows of 1000: a quarter behind GSR, the rest before it.
	behind := func(s *side) wire.Seq { return s.c.gsr.Add(1 - 1000/4) }
	ahead := func(s *side) wire.Seq { return s.c.gsr.Add(750) }
	tests := []struct {
		name  string
		kind  wire.Type
		seq   func(*side) wire.Seq
		ack   func(*side) wire.Seq
		valid bool
	}{
		{"Data, SWH", wire.Data, ahead, nil, true},
		{"Data, SWH+1", wire.Data, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		{"Data, SWL", wire.Data, behind, nil, true},
		{"Data, SWL-1", wire.Data, func(s *side) wire.Seq { return behind(s) - 1 }, nil, false},
		{"Ack, AWH", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss }, true},
		{"Ack, AWH+1", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss + 1 }, false},
		{"Ack, AWL", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss.Add(1 - 1000) }, true},
		{"Ack, AWL-1", wire.Ack, nil, func(s *side) wire.Seq { return s.c.gss.Add(-1000) }, false},
		{"DataAck, SWH+1", wire.DataAck, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		// What ends a connection is newer than all before, and acknowledges
		// nothing older (Section 7.5.3).
		{"Close, GSR+1", wire.Close, nil, nil, true},
		{"Close, GSR", wire.Close, func(s *side) wire.Seq { return s.c.gsr }, nil, false},
		{"Close, SWH+1", wire.Close, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		{"Close, GAR", wire.Close, nil, func(s *side) wire.Seq { return s.c.gar }, true},
		{"Close, GAR-1", wire.Close, nil, func(s *side) wire.Seq { return s.c.gar - 1 }, false},
		{"Reset, GSR", wire.Reset, func(s *side) wire.Seq { return s.c.gsr }, nil, false},
		{"Reset, GAR-1", wire.Reset, nil, func(s *side) wire.Seq { return s.c.gar - 1 }, false},
		{"Reset, SWH+1", wire.Reset, func(s *side) wire.Seq { return ahead(s) + 1 }, nil, false},
		{"Reset, number 0", wire.Reset, func(*side) wire.Seq { return 0 }, nil, false},
		{"Reset, GSR+1 and GAR", wire.Reset, nil, func(s *side) wire.Seq { return s.c.gar }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			// Far from the beginning, where nothing is clamped.
			s := &p.b
			for from := 0; from < 3000; from += 100 {
				p.send(&p.a, from, 100)
				p.send(&p.b, from, 100)
				p.exchange()
			}
			if w := s.c.feat.value(remote, wire.FeatSequenceWindow); w != 1000 {
				t.Fatalf("sequence window %d", w)
			}
			p.now = p.now.Add(time.Second)
			gsr, gar := s.c.gsr, s.c.gar
			q := forge(s, test.kind)
			if test.seq != nil {
				q.Seq = test.seq(s)
			}
			if test.ack != nil {
				q.Ack = test.ack(s)
			}
			q.Data = []byte("x")
			out := p.replies(s, q)
			if !test.valid {
				ack := q.Seq
				if test.kind == wire.Reset {
					ack = gsr // Section 7.5.4
				}
				r := want(t, out, wire.Sync, ack)
				if r.Seq != s.c.gss || s.c.gsr != gsr || s.c.gar != gar || s.c.State() != StateOpen {
					t.Errorf("%+v, GSR %d was %d", r, s.c.gsr, gsr)
				}
				return
			}
			if s.c.Stats().SequenceInvalid != 0 {
				t.Error("not taken for valid")
			}
			if test.name == "Data, SWL" {
				if s.c.gsr != gsr {
					t.Error("GSR went back")
				}
			} else if s.c.gsr != q.Seq {
				t.Errorf("GSR %d, want %d", s.c.gsr, q.Seq)
			}
			if q.Type.HasAck() && s.c.gar != wire.MaxSeq(gar, q.Ack) {
				t.Errorf("GAR %d, want %d", s.c.gar, q.Ack)
			}
		})
	}
}

// Section 7.5.1: at the beginning the windows do not reach before ISR and ISS.
func TestStep6WindowsBegin(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	s := &p.b
	for _, q := range []*wire.Packet{
		{Type: wire.Data, Seq: s.c.isr - 1},
		{Type: wire.Ack, Seq: s.c.gsr + 1, Ack: s.c.iss - 1},
	} {
		p.now = p.now.Add(time.Second)
		want(t, p.replies(s, q), wire.Sync, q.Seq)
	}
	// Much later the same numbers are ordinary again: around the circle.
	s.c.gsr, s.c.isrWrapped = s.c.isr.Add(5), true
	if low, _ := s.c.seqWindow(); low != s.c.gsr.Add(1-250) {
		t.Errorf("window from %d, GSR %d", low, s.c.gsr)
	}
}

func TestStep6ShortNumbersNotAgreed(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	q := forge(&p.b, wire.Data)
	q.Short, q.Seq, q.Data = true, q.Seq&0xffffff, []byte("x")
	wantNone(t, p.replies(&p.b, q))
	if len(p.b.got) != 0 || p.b.c.Stats().ShortInvalid != 1 {
		t.Error("taken")
	}
}

// Section 7.6: were they agreed to, they would be understood.
func TestStep6ShortNumbersExtended(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.feat.at(remote, wire.FeatShortSeqnos).value = 1
	q := forge(&p.b, wire.DataAck)
	full := q.Seq
	q.Short, q.Seq, q.Ack, q.Data = true, q.Seq&0xffffff, q.Ack&0xffffff, []byte("x")
	p.b.handle(p.now, q)
	if len(p.b.got) != 1 || p.b.c.gsr != full || p.b.c.gar != p.b.c.gss {
		t.Errorf("got %v, GSR %d want %d", p.b.got, p.b.c.gsr, full)
	}
}

// Section 7.5.4, SHOULD: at most eight Syncs a second for invalid packets.
func TestStep6SyncsAreLimited(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	syncs := 0
	for i := range 1000 {
		q := forge(&p.b, wire.Ack)
		q.Seq += wire.Seq(100_000 + i)
		syncs += len(p.replies(&p.b, q))
		p.now = p.now.Add(time.Millisecond)
	}
	st := p.b.c.Stats()
	if syncs < 8 || syncs > 17 || st.SyncsLimited != uint64(1000-syncs) || st.SequenceInvalid != 1000 {
		t.Errorf("%d Syncs in a second, %+v", syncs, st)
	}
	p.send(&p.a, 0, 10)
	p.exchange()
	if len(p.b.got) != 10 {
		t.Error("the connection is disturbed")
	}
}

func TestStep7UnexpectedTypes(t *testing.T) {
	tests := []struct {
		name   string
		server bool
		kind   wire.Type
		seq    func(*side) wire.Seq
		sync   bool
	}{
		{"CloseReq at a server", true, wire.CloseReq, nil, true},
		{"Response at a server", true, wire.Response, nil, true},
		{"Request at a client", false, wire.Request, nil, true},
		{"late Request", true, wire.Request, nil, true},
		{"late Response", false, wire.Response, nil, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			s := &p.a
			if test.server {
				s = &p.b
			}
			q := forge(s, test.kind)
			q.Service = service
			want(t, p.replies(s, q), wire.Sync, q.Seq)
			if s.c.State() != StateOpen || s.c.Stats().Unexpected != 1 {
				t.Errorf("%v", s.c.State())
			}
		})
	}
	t.Run("Data in RESPOND", func(t *testing.T) {
		p := responding(t)
		q := forge(&p.b, wire.Data)
		want(t, p.replies(&p.b, q), wire.Sync, q.Seq)
		if p.b.c.State() != StateRespond {
			t.Error(p.b.c.State())
		}
	})
	t.Run("old Request after OPEN", func(t *testing.T) {
		// It was overtaken by the Ack: before OSR, so not worth a Sync.
		p := newPair(t, plainConfig(), plainConfig())
		first := p.a.packets(p.now)[0]
		p.now = p.now.Add(time.Second)
		p.a.c.HandleTimer(p.now)
		p.exchange() // the second makes the connection
		p.wantStates(StateOpen, StateOpen)
		wantNone(t, p.replies(&p.b, first)[:0])
		if p.b.c.State() != StateOpen {
			t.Error(p.b.c.State())
		}
	})
}
