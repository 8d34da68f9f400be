package core

import (
	"errors"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

func types(ps []wire.Packet) []wire.Type {
	var out []wire.Type
	for _, p := range ps {
		out = append(out, p.Type)
	}
	return out
}

// RFC 4340, Section 8.3: who sends what, and who holds TIMEWAIT.
func TestClosing(t *testing.T) {
	hold := plainConfig()
	hold.HoldTimeWait = true
	tests := []struct {
		name   string
		server Config
		close  func(*pair)
		a, b   State
	}{
		{"client", plainConfig(), func(p *pair) { p.a.c.Close(p.now) }, StateTimeWait, StateClosed},
		{"server", plainConfig(), func(p *pair) { p.b.c.Close(p.now) }, StateTimeWait, StateClosed},
		{"server that holds TIMEWAIT", hold, func(p *pair) { p.b.c.Close(p.now) }, StateClosed, StateTimeWait},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := opened(t, plainConfig(), test.server)
			p.send(&p.a, 0, 5)
			p.send(&p.b, 5, 5)
			p.exchange()
			test.close(p)
			p.exchange()
			p.wantStates(test.a, test.b)
			for _, s := range []*side{&p.a, &p.b} {
				if !s.c.Err().Clean() || s.count(EventClosed) != 1 || s.count(EventDelivered) != 5 || s.count(EventUnconfirmed) != 0 {
					t.Errorf("%v, %v", s.c.Err(), s.events)
				}
				if err := s.c.Send(p.now, 9, nil); !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				// Idempotent, and late.
				s.c.Close(p.now)
				s.c.Abort(p.now, wire.ResetAborted)
				s.drain()
				if !s.c.Err().Clean() {
					t.Error(s.c.Err())
				}
			}
		})
	}
	t.Run("both at once", func(t *testing.T) {
		p := opened(t, plainConfig(), hold)
		p.a.c.Close(p.now)
		p.b.c.Close(p.now)
		a, b := p.a.packets(p.now), p.b.packets(p.now)
		for _, q := range a {
			p.b.handle(p.now, q)
		}
		for _, q := range b {
			p.a.handle(p.now, q)
		}
		if p.a.c.State() != StateClosed || p.b.c.State() != StateClosed || !p.a.c.Err().Clean() {
			t.Errorf("%v %v", p.a.c.State(), p.b.c.State())
		}
	})
}

// Section 8.3, MUST: repeated, first after two round trips, backing off to 64 s.
func TestCloseIsRepeated(t *testing.T) {
	p, s := inState(t, StateClosing)
	p.lose = func(bool, *wire.Packet) bool { return true }
	s.c.rtt.smoothed = 0
	from, n := p.now, len(s.sent)
	var at []time.Duration
	for s.c.State() == StateClosing {
		p.now = s.c.NextTimer()
		s.c.HandleTimer(p.now)
		for _, q := range s.packets(p.now) {
			if q.Type == wire.Close {
				at = append(at, p.now.Sub(from))
			}
		}
	}
	for i := range at[1:] {
		if gap := at[i+1] - at[i]; gap > maxBackoff || i > 0 && gap < at[i]-at[i-1] {
			t.Errorf("sent at %v", at)
		}
	}
	if at[0] < 200*time.Millisecond || len(at) < 10 || p.now.Sub(from) > 8*time.Minute {
		t.Errorf("sent at %v, given up after %v", at, p.now.Sub(from))
	}
	if last := s.sent[len(s.sent)-1]; last.Code != wire.ResetAborted || n == 0 {
		t.Errorf("%+v", last)
	}
}

// Section 8.1.1: the first repetition after about a second, backing off to
// 64 s; after 3 minutes a Reset that acknowledges 0.
func TestRequestIsRepeated(t *testing.T) {
	p := newPair(t, plainConfig(), plainConfig())
	p.lose = func(bool, *wire.Packet) bool { return true }
	from := p.now
	first := p.a.packets(p.now)[0]
	var at []time.Duration
	for p.a.c.State() == StateRequest {
		p.now = p.a.c.NextTimer()
		p.a.c.HandleTimer(p.now)
		for _, q := range p.a.packets(p.now) {
			if q.Type != wire.Request {
				continue
			}
			at = append(at, p.now.Sub(from))
			if q.Seq != first.Seq.Add(int64(len(at))) || q.Service != first.Service ||
				!slices.EqualFunc(featureOptions(q), featureOptions(first), slices.Equal) {
				t.Errorf("%+v", q)
			}
		}
	}
	want := []time.Duration{1, 3, 7, 15, 31, 63, 127}
	for i, d := range want {
		if i >= len(at) || at[i] != d*time.Second {
			t.Fatalf("sent at %v, want %v s", at, want)
		}
	}
	last := p.a.sent[len(p.a.sent)-1]
	if p.now.Sub(from) != 3*time.Minute || last.Type != wire.Reset || last.Code != wire.ResetAborted || last.Ack != 0 {
		t.Errorf("after %v: %+v", p.now.Sub(from), last)
	}
	if e := p.a.c.Err(); e.Code != wire.ResetAborted || e.Remote {
		t.Error(e)
	}
}

func TestCloseSendsTheQueueFirst(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	sender := p.a.c.sender.(*plainSender)
	sender.hold = true
	p.send(&p.a, 0, 5)
	p.a.c.Close(p.now)
	p.exchange()
	if err := p.a.c.Send(p.now, 9, nil); !errors.Is(err, ErrClosed) || p.a.c.State() != StateOpen {
		t.Fatalf("%v, %v", err, p.a.c.State())
	}
	p.now = p.now.Add(5 * time.Second)
	sender.hold = false
	p.exchange()
	p.wantStates(StateTimeWait, StateClosed)
	if len(p.b.got) != 5 || p.a.count(EventDelivered) != 5 {
		t.Errorf("got %q, %v", p.b.got, p.a.ids)
	}
}

func TestLingerIsBounded(t *testing.T) {
	for _, linger := range []time.Duration{0, 3 * time.Second, -1} {
		cfg := plainConfig()
		cfg.Linger = linger
		p := opened(t, cfg, plainConfig())
		p.a.c.sender.(*plainSender).hold = true
		p.send(&p.a, 0, 5)
		from := p.now
		p.a.c.Close(p.now)
		p.a.drain()
		for p.a.c.State() == StateOpen {
			p.exchange()
			p.now = p.a.c.NextTimer()
			p.a.c.HandleTimer(p.now)
			p.a.drain()
		}
		want := max(linger, 0)
		if linger == 0 {
			want = defaultLinger
		}
		if p.now.Sub(from) != want || p.a.count(EventDropped) != 5 {
			t.Errorf("linger %v: closed after %v, %v", linger, p.now.Sub(from), p.a.ids)
		}
	}
}

// The last messages' fates are asked for before the end.
func TestCloseAsksForFates(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	// A receiver that never acknowledges by itself.
	lazy := &plainReceiver{}
	p.b.c.receiver = &lazyReceiver{lazy}
	p.send(&p.a, 0, 5)
	p.exchange()
	if p.a.count(EventDelivered) != 0 {
		t.Fatal("acknowledged")
	}
	p.a.c.Close(p.now)
	p.exchange()
	p.wantStates(StateTimeWait, StateClosed)
	if p.a.count(EventDelivered) != 5 || !slices.Contains(types(p.a.sent), wire.Sync) {
		t.Errorf("%v, sent %v", p.a.ids, types(p.a.sent))
	}
}

type lazyReceiver struct{ *plainReceiver }

func (lazyReceiver) AckDue(time.Time) bool { return false }

var _ ccid.Receiver = lazyReceiver{}

func TestAbort(t *testing.T) {
	for _, state := range []State{StateRespond, StatePartOpen, StateOpen, StateCloseReq, StateClosing} {
		t.Run(state.String(), func(t *testing.T) {
			p, s := inState(t, state)
			head := s.c.in.head
			s.c.Abort(p.now, wire.ResetAborted)
			s.drain()
			r := want(t, s.packets(p.now), wire.Reset, head)
			if r.Code != wire.ResetAborted || s.c.State() != StateClosed || s.count(EventClosed) != 1 {
				t.Errorf("%+v", r)
			}
			if e := s.c.Err(); e.Remote || e.Error() != "dccp: reset: aborted" {
				t.Error(e)
			}
			wantNone(t, s.packets(p.now))
		})
	}
	t.Run("before the first Request", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.a.c.Close(p.now)
		p.a.drain()
		wantNone(t, p.a.packets(p.now))
		if p.a.c.State() != StateClosed || p.a.count(EventClosed) != 1 {
			t.Error(p.a.c.State())
		}
	})
	t.Run("in REQUEST", func(t *testing.T) {
		p := newPair(t, plainConfig(), plainConfig())
		p.send(&p.a, 0, 2)
		p.a.packets(p.now)
		p.a.c.Close(p.now)
		p.a.drain()
		r := want(t, p.a.packets(p.now), wire.Reset, 0)
		if r.Code != wire.ResetAborted || p.a.count(EventDropped) != 2 {
			t.Errorf("%+v, %v", r, p.a.ids)
		}
	})
}

func TestResetErrors(t *testing.T) {
	for want, e := range map[string]ResetError{
		"dccp: reset by peer: closed":                           {Code: wire.ResetClosed, Remote: true},
		"dccp: reset: option error (option 35: 0500)":           {Code: wire.ResetOptionError, Data: [3]byte{35, 5}},
		"dccp: reset by peer: packet error (Sync)":              {Code: wire.ResetPacketError, Data: [3]byte{8}, Remote: true},
		`dccp: reset by peer: bad service code "what\nis this"`: {Code: wire.ResetBadServiceCode, Remote: true, Text: "what\nis this"},
	} {
		if e.Error() != want {
			t.Errorf("%s\nwant %s", e.Error(), want)
		}
	}
}

// A peer that has gone is noticed.
func TestKeepAlive(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.pass(20 * time.Minute)
	p.wantStates(StateOpen, StateOpen)
	if n := p.a.c.Stats().SyncsSent + p.b.c.Stats().SyncsSent; n < 9 || n > 22 {
		t.Errorf("%d Syncs in 20 minutes", n)
	}
	p.lose = func(bool, *wire.Packet) bool { return true }
	p.pass(10 * time.Minute)
	p.wantStates(StateClosed, StateClosed)
	if e := p.a.c.Err(); e.Code != wire.ResetAborted || e.Remote {
		t.Error(e)
	}
	never := plainConfig()
	never.KeepAlive = -1
	p = opened(t, never, never)
	if !p.a.c.NextTimer().IsZero() || !p.b.c.NextTimer().IsZero() {
		t.Error("an idle connection has a timer")
	}
}
