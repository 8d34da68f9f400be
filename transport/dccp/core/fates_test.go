package core

import (
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// acknowledge lets the client hear that of its last n packets those of the
// vector came.
func (p *pair) acknowledge(vector ...byte) {
	p.t.Helper()
	q := forge(&p.a, wire.Ack)
	q.Options = wire.AppendAckVector(nil, vector)
	p.a.handle(p.now, q)
}

func TestFatesByAckVector(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 10)
	p.a.packets(p.now)
	// 9 8 came, 7 6 not, 5 to 3 came, 2 not, 1 0 came.
	p.acknowledge(1, 0xc1, 2, 0xc0, 1)
	if got := p.a.ids[EventDelivered]; !slices.Equal(got, []uint64{9, 8, 3, 4, 5, 0, 1}) {
		t.Errorf("delivered %v", got)
	}
	// Three later ones came before 2, but only two before 7 and 6.
	if got := p.a.ids[EventLost]; !slices.Equal(got, []uint64{2}) {
		t.Errorf("lost %v", got)
	}
	// 6 comes late, 7 is overtaken by one more.
	p.send(&p.a, 10, 1)
	p.a.packets(p.now)
	p.acknowledge(2, 0xc0, 4, 0xc0, 1)
	if got := p.a.ids[EventDelivered]; !slices.Equal(got[7:], []uint64{10, 6}) {
		t.Errorf("delivered %v", got)
	}
	if got := p.a.ids[EventLost]; !slices.Equal(got, []uint64{2, 7}) {
		t.Errorf("lost %v", got)
	}
	// What was decided stays decided.
	p.acknowledge(10)
	if p.a.count(EventDelivered) != 9 || p.a.count(EventLost) != 2 || p.a.c.out.messages != 0 {
		t.Errorf("%v", p.a.ids)
	}
}

// RFC 4340, Section 11.4.2: a vector leaves out what stood in one that we have
// acknowledged, packets included that it called missing; and Linux's begins with
// the first packet that comes after all was acknowledged. What such a vector is too
// young for, and nobody ever said had come, has not, once it is overtaken.
func TestFatesOfWhatVectorsLeaveOut_RFC4340_11_4_2(t *testing.T) {
	for _, c := range []struct {
		name string
		tell func(p *pair)
		lost []uint64
	}{
		{"overtaken in the vector", func(p *pair) { p.acknowledge(2) }, []uint64{7, 10}}, // 13 12 11 came
		{"overtaken by and by", func(p *pair) {
			for i := range 3 { // 13, 14 and 15 come, each alone in its vector
				p.acknowledge(0)
				p.goOn(14 + i)
			}
		}, []uint64{7}},
		{"asked by a Sync", func(p *pair) { p.a.c.askFates(p.now); p.a.packets(p.now); p.acknowledge(0) }, []uint64{7, 10, 11, 12, 13}},
		{"not overtaken", func(p *pair) { p.acknowledge(0) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			p.send(&p.a, 0, 10)
			p.a.packets(p.now)
			p.acknowledge(1, 0xc0, 6) // 9 8 came, 7 not, 6 to 0 came
			p.send(&p.a, 10, 4)
			p.a.packets(p.now)
			c.tell(p)
			if got := p.a.ids[EventLost]; !slices.Equal(got, c.lost) {
				t.Errorf("lost %v, want %v", got, c.lost)
			}
		})
	}
}

// goOn sends one more.
func (p *pair) goOn(i int) {
	p.send(&p.a, i, 1)
	p.a.packets(p.now)
}

// Section 8.3.1: a Reset from where there is no connection names a packet that
// nobody took.
func TestStrayResetDeliversNothing(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.send(&p.a, 0, 3)
	p.a.packets(p.now)
	q := forge(&p.a, wire.Reset)
	q.Code = wire.ResetNoConnection
	p.a.handle(p.now, q)
	if p.a.count(EventDelivered) != 0 || !slices.Equal(p.a.ids[EventUnconfirmed], []uint64{0, 1, 2}) {
		t.Errorf("%v", p.a.ids)
	}
}

// The fate of a message is told once, even when records run out.
func TestOutstandingIsBounded(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a.c.feat.at(local, wire.FeatSequenceWindow).value = 1 << 20
	p.a.c.vectors = false // as if the peer sent no Ack Vectors
	sent := 0
	for range 100 {
		p.send(&p.a, sent, 200)
		sent += 200
		p.a.packets(p.now)
	}
	if n := len(p.a.c.out.ring); n != maxOutstanding {
		t.Errorf("%d packets remembered", n)
	}
	// The handshake's two packets took two places.
	if got := p.a.count(EventUnconfirmed); got != sent-maxOutstanding {
		t.Errorf("%d unconfirmed", got)
	}
	p.a.c.Abort(p.now, wire.ResetAborted)
	p.a.drain()
	if got := p.a.count(EventUnconfirmed); got != sent {
		t.Errorf("%d unconfirmed at the end", got)
	}
}

// The last messages have nothing behind them that could show their loss, and
// their acknowledgement may be lost itself: a Sync brings their fates, within
// a bounded number of tries, while the connection goes on.
func TestFatesOfTheLastMessages(t *testing.T) {
	for _, tt := range []struct {
		name           string
		lost           func(toServer bool, q *wire.Packet) bool
		delivered, bad int
	}{
		{"the last two", func(there bool, q *wire.Packet) bool { return there && q.Type.HasData() }, 10, 2},
		{"their acknowledgements", func(there bool, q *wire.Packet) bool { return !there && q.Type == wire.Ack }, 12, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := opened(t, plainConfig(), plainConfig())
			p.send(&p.a, 0, 10)
			p.exchange()
			p.lose = tt.lost
			p.send(&p.a, 10, 2)
			p.exchange()
			p.lose = nil
			if p.a.count(EventDelivered) != 10 || p.a.count(EventLost) != 0 {
				t.Fatal("known too soon")
			}
			p.pass(2 * time.Second)
			if d, l := p.a.count(EventDelivered), p.a.count(EventLost); d != tt.delivered || l != tt.bad {
				t.Errorf("%d delivered, %d lost", d, l)
			}
			if n := p.a.c.Stats().SyncsSent; n != 1 {
				t.Errorf("%d Syncs", n)
			}
			p.send(&p.a, 12, 3)
			p.exchange()
			if d := p.a.count(EventDelivered); d != tt.delivered+3 {
				t.Errorf("%d delivered afterwards", d)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		p := opened(t, plainConfig(), plainConfig())
		p.lose = func(bool, *wire.Packet) bool { return true }
		p.send(&p.a, 0, 2)
		p.pass(time.Minute)
		if n := p.a.c.Stats().SyncsSent; n != maxFateTries {
			t.Errorf("%d Syncs", n)
		}
	})
}
