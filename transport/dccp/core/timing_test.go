package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/sim"
	"ipfixsuite/transport/dccp/wire"
)

// rttSender notes what it is told of round trips.
type rttSender struct {
	plainSender
	echoes  []time.Duration
	elapsed []time.Duration
}

func (s *rttSender) Acked(_ time.Time, a *ccid.Ack) {
	s.echoes, s.elapsed = append(s.echoes, a.RTT), append(s.elapsed, a.Elapsed)
}

// The handshake gives both ends a round trip before the first message.
func TestRoundTripOfHandshake(t *testing.T) {
	var setups []time.Duration
	d := plain()
	d.NewSender = func(s ccid.Setup) ccid.Sender {
		setups = append(setups, s.RTT)
		return &plainSender{}
	}
	n := sim.New(1, start)
	end := func(name string) *simEnd {
		return &simEnd{name: name, cfg: Config{CCIDs: []ccid.CCID{d}}, arrived: map[uint64]bool{}, wired: map[uint64]bool{},
			came: map[wire.Seq]bool{}, refuse: func() bool { return false }}
	}
	a, b := end("client"), end("server")
	a.peer, b.peer = b, a
	var err error
	b.listener, err = NewListener(ListenerConfig{Config: b.cfg, Services: []wire.ServiceCode{service}, Rand: testRand(1)})
	if err != nil {
		t.Fatal(err)
	}
	a.c = NewClient(n.Now(), a.cfg, Ports{Local: 40000, Remote: 5001, Service: service}, 1)
	n.Connect(a, b, []*sim.Link{n.Link(sim.LinkConfig{Delay: 30 * time.Millisecond})}, []*sim.Link{n.Link(sim.LinkConfig{Delay: 50 * time.Millisecond})})
	if err := n.Run(time.Second); err != nil {
		t.Fatal(err)
	}
	for i, e := range []*simEnd{a, b} {
		if rtt := e.c.RTT(); rtt < 80*time.Millisecond || rtt > 81*time.Millisecond || setups[i] != rtt {
			t.Errorf("%s: round trip %v, its CCID was told %v", e.name, rtt, setups[i])
		}
	}
}

// A number that is acknowledged much later says nothing of the path.
func TestRoundTripNeedsAnAnswer(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	c := p.a.c
	p.now = p.now.Add(time.Second)
	c.due.sync, c.syncAck = true, c.in.head
	sync := p.a.packets(p.now)[0]
	before := c.rtt.smoothed
	p.now = p.now.Add(3 * time.Minute)
	q := forge(&p.a, wire.Ack)
	q.Ack = sync.Seq
	p.a.handle(p.now, q)
	if c.rtt.smoothed != before {
		t.Errorf("round trip %v", c.rtt.smoothed)
	}
	p.now = p.now.Add(time.Second)
	c.due.sync = true
	sync = p.a.packets(p.now)[0]
	p.now = p.now.Add(40 * time.Millisecond)
	q = forge(&p.a, wire.SyncAck)
	q.Ack = sync.Seq
	p.a.handle(p.now, q)
	if got := c.rtt.smoothed; got != before+(40*time.Millisecond-before)/8 {
		t.Errorf("round trip %v after a SyncAck", got)
	}
}

// RFC 4340, Sections 13.1 to 13.3.
func TestTimestamps(t *testing.T) {
	s := &rttSender{}
	d := plain()
	d.NewSender = func(ccid.Setup) ccid.Sender { return s }
	p := opened(t, plainConfig(), Config{CCIDs: []ccid.CCID{d}})
	t.Run("echo", func(t *testing.T) {
		q := forge(&p.b, wire.Sync)
		q.Options = wire.AppendTimestamp(nil, 0xabcdef01)
		p.b.handle(p.now, q)
		p.now = p.now.Add(70 * time.Millisecond)
		out := p.b.packets(p.now)
		stamp, elapsed, ok := wire.TimestampEcho(option(out[0], wire.OptTimestampEcho))
		if !ok || stamp != 0xabcdef01 || elapsed != 70*time.Millisecond {
			t.Errorf("%x after %v", stamp, elapsed)
		}
		// Once for each.
		p.b.c.due.ack = true
		if option(p.b.packets(p.now)[0], wire.OptTimestampEcho) != nil {
			t.Error("echoed twice")
		}
	})
	p.now = p.now.Add(time.Second)
	tests := []struct {
		name    string
		options []byte
		rtt     time.Duration
		elapsed time.Duration
	}{
		{"echo of ours", wire.AppendTimestampEcho(nil, p.b.c.stamp(p.now.Add(-90*time.Millisecond)), 30*time.Millisecond), 60 * time.Millisecond, -1},
		{"echo from the future", wire.AppendTimestampEcho(nil, p.b.c.stamp(p.now.Add(time.Second)), 0), 0, -1},
		{"more delay than time", wire.AppendTimestampEcho(nil, p.b.c.stamp(p.now.Add(-90*time.Millisecond)), time.Second), 0, -1},
		{"elapsed time", wire.AppendElapsedTime(nil, 20*time.Millisecond), 0, 20 * time.Millisecond},
		{"neither", nil, 0, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := forge(&p.b, wire.Ack)
			q.Options = test.options
			s.echoes, s.elapsed = nil, nil
			p.b.handle(p.now, q)
			if len(s.echoes) != 1 || s.echoes[0] != test.rtt || s.elapsed[0] != test.elapsed {
				t.Errorf("told %v and %v, want %v and %v", s.echoes, s.elapsed, test.rtt, test.elapsed)
			}
		})
	}
}

// In TIMEWAIT Resets are limited, too.
func TestTimeWaitResetsAreLimited(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a.c.Close(p.now)
	p.exchange()
	n := 0
	for i := range 1000 {
		n += len(p.replies(&p.a, &wire.Packet{Type: wire.Data, Seq: wire.Seq(i)}))
	}
	if st := p.a.c.Stats(); n != resetsPerSecond || st.ResetsLimited != uint64(1000-n) || st.AfterClose < 1000 {
		t.Errorf("%d Resets, %+v", n, st)
	}
}
