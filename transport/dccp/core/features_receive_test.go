package core

import (
	"bytes"
	"testing"

	"ipfixsuite/transport/dccp/wire"
)

// Section 6.6.2 and its subsections, option by option, at an open server.
func TestReceivedFeatureOptions(t *testing.T) {
	tests := []struct {
		name   string
		in     []byte
		answer []byte // the only feature option of the answer; nil: no answer
		reset  wire.ResetCode
	}{
		// Section 6.3.1: the value, then the own list.
		{"Change L(CCID, 2 3)", []byte{32, 5, 1, 2, 3}, []byte{35, 5, 1, 2, 2}, 0},
		{"Change R(CCID, 3 2)", []byte{34, 5, 1, 3, 2}, []byte{33, 5, 1, 2, 2}, 0},
		{"Change R(Send NDP Count, 1)", []byte{34, 4, 7, 1}, []byte{33, 6, 7, 1, 0, 1}, 0},
		{"Change R(Check Data Checksum, 1)", []byte{1, 34, 4, 9, 1}, []byte{33, 6, 9, 1, 1, 0}, 0},
		{"Change L(Minimum Checksum Coverage, 5)", []byte{32, 4, 8, 5}, append([]byte{35, 20, 8, 5}, anyCsCov...), 0},
		// Nothing in common: the old value is confirmed.
		{"Change L(CCID, 9)", []byte{32, 4, 1, 9}, []byte{35, 5, 1, 2, 2}, 0},
		{"Change L(Allow Short Seqnos, 1)", []byte{32, 4, 2, 1}, []byte{35, 5, 2, 0, 0}, 0},
		{"Mandatory Change L(CCID, 9)", []byte{1, 32, 4, 1, 9}, nil, wire.ResetMandatoryError},
		// Section 6.3.2: non-negotiable, the location alone decides.
		{"Change L(Ack Ratio, 7)", []byte{32, 5, 5, 0, 7}, []byte{35, 5, 5, 0, 7}, 0},
		{"Change L(Sequence Window, 1024)", []byte{32, 9, 3, 0, 0, 0, 0, 4, 0}, []byte{35, 9, 3, 0, 0, 0, 0, 4, 0}, 0},
		{"Change R(Ack Ratio, 7)", []byte{34, 5, 5, 0, 7}, []byte{33, 3, 5}, 0},
		{"Mandatory Change R(Ack Ratio, 7)", []byte{1, 34, 5, 5, 0, 7}, nil, wire.ResetMandatoryError},
		// Section 6.6.8: invalid values.
		{"Change L(Ack Ratio, 0)", []byte{32, 5, 5, 0, 0}, []byte{35, 3, 5}, 0},
		{"Change L(Sequence Window, 31)", []byte{32, 9, 3, 0, 0, 0, 0, 0, 31}, []byte{35, 3, 3}, 0},
		{"Change L(Sequence Window) of five octets", []byte{32, 8, 3, 0, 0, 0, 4, 0}, []byte{35, 3, 3}, 0},
		{"Change L(CCID) without a value", []byte{32, 3, 1}, []byte{35, 3, 1}, 0},
		{"Mandatory Change L(Ack Ratio, 0)", []byte{1, 32, 5, 5, 0, 0}, nil, wire.ResetMandatoryError},
		// Section 6.6.7: unknown features.
		{"Change L(126)", []byte{32, 4, 126, 1}, []byte{35, 3, 126}, 0},
		{"Change R(10)", []byte{34, 4, 10, 1}, []byte{33, 3, 10}, 0},
		{"Change R(192) without CCID 3", []byte{34, 4, 192, 1}, []byte{33, 3, 192}, 0},
		{"Mandatory Change L(126)", []byte{1, 32, 4, 126, 1}, nil, wire.ResetMandatoryError},
		{"Confirm R(126)", []byte{35, 3, 126}, nil, 0},
		// No number at all.
		{"Change L()", []byte{32, 2}, nil, 0},
		{"Mandatory Change L()", []byte{1, 32, 2}, nil, wire.ResetMandatoryError},
		// Section 6.6.8: Confirms that nobody asked for.
		{"unexpected Confirm R(CCID, 3)", []byte{35, 5, 1, 3, 3}, nil, 0},
		{"unexpected Confirm R(Ack Ratio, 9)", []byte{35, 5, 5, 0, 9}, nil, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			q := forge(&p.b, wire.Ack)
			q.Options = test.in
			out := p.replies(&p.b, q)
			switch {
			case test.reset != 0:
				r := want(t, out, wire.Reset, q.Seq)
				if r.Code != test.reset || r.ResetData[0] != test.in[1] {
					t.Errorf("%+v", r)
				}
			case test.answer == nil:
				wantNone(t, out)
			default:
				r := want(t, out, wire.Ack, q.Seq)
				if got := featureOptions(r); len(got) != 1 || !bytes.Equal(got[0], test.answer) {
					t.Errorf("answered %v, want %v", got, test.answer)
				}
			}
		})
	}
	t.Run("several, in order", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		q := forge(&p.b, wire.Ack)
		q.Options = []byte{32, 5, 5, 0, 7, 32, 5, 5, 0, 8, 34, 4, 7, 1}
		r := want(t, p.replies(&p.b, q), wire.Ack, q.Seq)
		got := featureOptions(r)
		if len(got) != 3 || got[0][4] != 7 || got[1][4] != 8 || got[2][2] != 7 {
			t.Errorf("%v", got)
		}
		if v := p.b.c.feat.value(remote, wire.FeatAckRatio); v != 8 {
			t.Errorf("Ack Ratio %d", v)
		}
	})
	t.Run("ignored on Data", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		q := forge(&p.b, wire.Data)
		q.Options = []byte{32, 5, 5, 0, 7}
		r := want(t, p.replies(&p.b, q), wire.Ack, q.Seq)
		if len(featureOptions(r)) != 0 || p.b.c.feat.value(remote, wire.FeatAckRatio) != 2 {
			t.Error("taken")
		}
	})
	t.Run("more than can be answered", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		q := forge(&p.b, wire.Ack)
		for range 200 {
			q.Options = append(q.Options, 32, 4, 126, 1)
		}
		for range 50 {
			p.b.handle(p.now, q)
			q.Seq++
		}
		if n := len(p.b.c.feat.confirms); n > maxConfirms {
			t.Errorf("%d octets of Confirms wait", n)
		}
		for _, r := range p.b.packets(p.now) {
			if len(r.Options) > maxConfirms+64 {
				t.Errorf("%d octets of options", len(r.Options))
			}
		}
	})
}

// changing is an open server with a Change L(Ack Ratio, 5) under way.
func changing(t *testing.T) (*pair, *wire.Packet) {
	t.Helper()
	p := opened(t, plainConfig(), plainConfig())
	p.b.c.feat.wish(wire.FeatAckRatio, 5)
	out := p.b.packets(p.now)
	if len(out) != 1 || !has(out[0], 32, 5, 5, 0, 5) {
		t.Fatalf("%v", summary(out))
	}
	return p, out[0]
}

func TestConfirmEndsChange(t *testing.T) {
	p, change := changing(t)
	p.a.handle(p.now, change)
	out := p.a.packets(p.now)
	if r := want(t, out, wire.Ack, change.Seq); !has(r, 35, 5, 5, 0, 5) {
		t.Errorf("%v", featureOptions(r))
	}
	// The confirming end has it at once, the other with the Confirm (Section
	// 6.6.1).
	p.wantValue(remote, wire.FeatAckRatio, 5, 2)
	p.b.handle(p.now, out[0])
	if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != 5 {
		t.Errorf("Ack Ratio %d", v)
	}
	// Both halves learn it.
	if v := p.b.c.sender.(*plainSender).values[wire.FeatAckRatio]; v != 5 {
		t.Errorf("the sender was told %d", v)
	}
}

// Section 6.6.4: the two conditions.
func TestFeatureReordering(t *testing.T) {
	t.Run("FGSR", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		late, early := forge(&p.b, wire.Ack), forge(&p.b, wire.Ack)
		late.Options = []byte{32, 5, 5, 0, 7}
		early.Seq += 5
		early.Options = []byte{32, 5, 5, 0, 9}
		p.b.handle(p.now, early)
		p.b.handle(p.now, late)
		if v := p.b.c.feat.value(remote, wire.FeatAckRatio); v != 9 {
			t.Errorf("Ack Ratio %d", v)
		}
		out := p.b.packets(p.now)
		if len(out) != 1 || len(featureOptions(out[0])) != 1 {
			t.Errorf("%v", summary(out))
		}
	})
	t.Run("FGSR and Mandatory", func(t *testing.T) {
		// Section 6.6.9: reordering resets nothing.
		p := opened(t, plainConfig(), plainConfig())
		late, early := forge(&p.b, wire.Ack), forge(&p.b, wire.Ack)
		late.Options = []byte{1, 32, 4, 1, 9}
		early.Seq += 5
		early.Options = []byte{32, 5, 5, 0, 9}
		p.b.handle(p.now, early)
		p.b.handle(p.now, late)
		if p.b.c.State() != StateOpen {
			t.Error(p.b.c.Err())
		}
	})
	t.Run("FGSS", func(t *testing.T) {
		p, change := changing(t)
		q := forge(&p.b, wire.Ack)
		q.Ack = change.Seq - 1 // from before the Change
		q.Options = []byte{35, 5, 5, 0, 5}
		p.b.handle(p.now, q)
		if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != 2 {
			t.Errorf("Ack Ratio %d", v)
		}
	})
}

// Sections 6.6.7 and 6.6.8: what a Confirm may be.
func TestConfirms(t *testing.T) {
	tests := []struct {
		name  string
		in    []byte
		value uint64
		reset wire.ResetCode
	}{
		{"as asked", []byte{35, 5, 5, 0, 5}, 5, 0},
		{"not understood", []byte{35, 3, 5}, 2, 0},
		{"another value", []byte{35, 5, 5, 0, 6}, 2, wire.ResetOptionError},
		{"a wrong length", []byte{35, 4, 5, 5}, 2, wire.ResetOptionError},
		// Linux may answer what was repeated twice, the second time in a
		// packet that acknowledges the next Change.
		{"the value before", []byte{35, 5, 5, 0, 2}, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, _ := changing(t)
			q := forge(&p.b, wire.Ack)
			q.Options = test.in
			out := p.replies(&p.b, q)
			if test.reset != 0 {
				if r := want(t, out, wire.Reset, q.Seq); r.Code != test.reset {
					t.Errorf("%+v", r)
				}
				return
			}
			if v := p.b.c.feat.value(local, wire.FeatAckRatio); v != test.value || p.b.c.State() != StateOpen {
				t.Errorf("Ack Ratio %d, %v", v, p.b.c.Err())
			}
		})
	}
	confirm := func(ask, in []byte, f wire.Feature) (*pair, []*wire.Packet) {
		p := opened(t, plainConfig(), plainConfig())
		p.b.c.feat.ask(local, f, ask, false)
		p.b.packets(p.now)
		q := forge(&p.b, wire.Ack)
		q.Options = in
		return p, p.replies(&p.b, q)
	}
	t.Run("not understood, required", func(t *testing.T) {
		_, out := confirm([]byte{3, 2}, []byte{35, 3, 1}, wire.FeatCCID)
		if len(out) != 1 || out[0].Code != wire.ResetOptionError {
			t.Errorf("%v", summary(out))
		}
	})
	t.Run("wrong choice", func(t *testing.T) {
		// Our list, a server's, is 1 0, theirs 1 0: that gives 1.
		_, out := confirm([]byte{1, 0}, []byte{35, 6, 7, 0, 1, 0}, wire.FeatSendNDPCount)
		if len(out) != 1 || out[0].Code != wire.ResetOptionError {
			t.Errorf("%v", summary(out))
		}
	})
	t.Run("right choice", func(t *testing.T) {
		p, out := confirm([]byte{1, 0}, []byte{35, 6, 7, 1, 0, 1}, wire.FeatSendNDPCount)
		wantNone(t, out)
		if p.b.c.feat.value(local, wire.FeatSendNDPCount) != 1 {
			t.Error("not taken")
		}
	})
	t.Run("nothing in common keeps the value", func(t *testing.T) {
		p, out := confirm([]byte{1}, []byte{35, 5, 7, 0, 0}, wire.FeatSendNDPCount)
		wantNone(t, out)
		if p.b.c.feat.value(local, wire.FeatSendNDPCount) != 0 || p.b.c.State() != StateOpen {
			t.Error("not kept")
		}
	})
}

// Confirms are repeated in PARTOPEN while they acknowledge what they answer,
// and not beyond: to the server they would seem to answer its next Change.
func TestConfirmsInPartOpen(t *testing.T) {
	p, s := inState(t, StatePartOpen)
	s.c.due.ack = true
	if q := s.packets(p.now); len(q) != 1 || len(featureOptions(q[0])) == 0 {
		t.Fatalf("%v", summary(q))
	}
	for _, q := range p.replies(s, forge(s, wire.Sync)) {
		if len(featureOptions(q)) > 0 {
			t.Errorf("%v: %v", q.Type, featureOptions(q))
		}
	}
	s.c.due.ack = true
	for _, q := range s.packets(p.now) {
		if len(featureOptions(q)) > 0 {
			t.Errorf("%v: %v", q.Type, featureOptions(q))
		}
	}
}
