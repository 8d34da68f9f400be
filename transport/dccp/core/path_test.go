package core

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// size is a packet's length on the wire.
func size(p *wire.Packet) int { return p.FixedLen() + len(p.Options) + len(p.Data) }

// RFC 4340, Section 14.1: upward probing by padded Syncs.
func TestProbing(t *testing.T) {
	for _, carries := range []int{1232, 1300, 1333, 1452, 1472, 1500, 9000} {
		cfg := plainConfig()
		cfg.MaxMTU = 1472
		p := newPair(t, cfg, plainConfig())
		largest, probes := 0, 0
		p.lose = func(_ bool, q *wire.Packet) bool {
			if q.Type == wire.Sync && size(q) > DefaultMTU {
				probes++
			}
			if size(q) > carries {
				return true
			}
			largest = max(largest, size(q))
			return false
		}
		p.exchange()
		p.wantStates(StateOpen, StateOpen)
		for i := range 60 {
			p.send(&p.a, i, 1) // a working connection
			p.pass(time.Second)
		}
		reach := min(carries, 1472)
		got := p.a.c.MTU()
		if got > reach || got < reach-2*probeStep {
			t.Errorf("path of %d: packet size %d after %d probes", carries, got, probes)
		}
		if probes > 30 || p.a.c.Stats().ProbesSent != uint64(probes) {
			t.Errorf("path of %d: %d probes, counted %d", carries, probes, p.a.c.Stats().ProbesSent)
		}
		if got > DefaultMTU && p.a.count(EventMPS) == 0 {
			t.Error("the application was not told")
		}
		if p.b.c.MTU() != DefaultMTU {
			t.Error("the server searched, too")
		}
		// A message of that size goes through.
		if err := p.a.c.Send(p.now, 1000, make([]byte, p.a.c.MPS())); err != nil {
			t.Fatal(err)
		}
		p.exchange()
		if n := len(p.b.got); len(p.b.got[n-1]) != p.a.c.MPS() {
			t.Errorf("path of %d: a message of %d octets did not come", carries, p.a.c.MPS())
		}
	}
}

// Routes change: what failed is tried again, seldom.
func TestProbingAgain(t *testing.T) {
	cfg := plainConfig()
	cfg.MaxMTU = 1472
	p := newPair(t, cfg, plainConfig())
	carries := DefaultMTU
	p.lose = func(_ bool, q *wire.Packet) bool { return size(q) > carries }
	p.exchange()
	p.pass(9 * time.Minute)
	if p.a.c.MTU() != DefaultMTU {
		t.Fatal(p.a.c.MTU())
	}
	carries = 9000
	n := p.a.c.Stats().ProbesSent
	p.pass(15 * time.Minute)
	if p.a.c.MTU() != 1472 || p.a.c.Stats().ProbesSent-n > 10 {
		t.Errorf("packet size %d after %d probes", p.a.c.MTU(), p.a.c.Stats().ProbesSent-n)
	}
}

// Section 14.1, SHOULD: ICMP is believed when it names a packet that we sent.
func TestPacketTooBig(t *testing.T) {
	cfg := plainConfig()
	cfg.MTU = 1472
	p := opened(t, cfg, plainConfig())
	if err := p.a.c.Send(p.now, 1, make([]byte, 1400)); err != nil {
		t.Fatal(err)
	}
	seq := p.a.packets(p.now)[0].Seq
	for _, forged := range []wire.Seq{0, seq + 1, seq + 1000, p.a.c.iss - 1} {
		if p.a.c.PacketTooBig(p.now, 600, forged) {
			t.Errorf("number %d believed", forged)
		}
	}
	if p.a.c.PacketTooBig(p.now, MinMTU-1, seq) || p.a.c.PacketTooBig(p.now, 1472, seq) {
		t.Error("a size that cannot be believed")
	}
	if p.a.c.MTU() != 1472 {
		t.Fatal(p.a.c.MTU())
	}
	if !p.a.c.PacketTooBig(p.now, 1300, seq) {
		t.Error("not believed")
	}
	p.a.drain()
	if p.a.c.MTU() != 1300 || p.a.count(EventMPS) != 1 {
		t.Errorf("%d, %v", p.a.c.MTU(), p.a.ids)
	}
	if err := p.a.c.Send(p.now, 3, make([]byte, 1400)); err == nil {
		t.Error("a message above the MPS was taken")
	}
}

// RFC 5238, Section 3.5, MUST NOT exceed the packet size in force: what waits
// when that shrinks, and does not fit, is told of at once as never sent; what
// fits goes, in its order, and there is room again.
func TestShrunkMPSDropsWhatDoesNotFit(t *testing.T) {
	cfg := plainConfig()
	cfg.MTU, cfg.QueueMessages = 1472, 6
	shrink := map[string]func(p *pair) bool{
		"told by the carrier": func(p *pair) bool { p.a.c.SetMTU(p.now, 600); return true },
		"told by ICMP":        func(p *pair) bool { return p.a.c.PacketTooBig(p.now, 600, p.a.c.gss) },
	}
	for name, shrink := range shrink {
		t.Run(name, func(t *testing.T) {
			p, s := held(t, cfg)
			most := 600 - wire.DataAckHeader - optionRoom
			for i, octets := range []int{1400, 100, most, most + 1, 1400, most} {
				if err := p.a.c.Send(p.now, uint64(i), bytes.Repeat([]byte{byte(i)}, octets)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.a.c.Send(p.now, 6, nil); !errors.Is(err, ErrQueueFull) {
				t.Fatal(err)
			}
			if !shrink(p) {
				t.Fatal("not believed")
			}
			p.a.drain()
			if !slices.Equal(p.a.ids[EventDropped], []uint64{0, 3, 4}) || p.a.count(EventWritable) != 1 {
				t.Errorf("%v", p.a.ids)
			}
			if st := p.a.c.Stats(); st.Outgrown != 3 || st.QueueDrops != 3 || st.Queued != 3 {
				t.Errorf("%+v", st)
			}
			if id, ok := p.a.c.Oldest(); !ok || id != 1 {
				t.Errorf("message %d is the oldest", id)
			}
			// What has become free is used again.
			if err := p.a.c.Send(p.now, 6, bytes.Repeat([]byte{6}, most)); err != nil {
				t.Fatal(err)
			}
			s.hold = false
			from := len(p.a.sent)
			p.exchange()
			for _, q := range p.a.sent[from:] {
				if size(&q) > 600 {
					t.Errorf("%v of %d octets", q.Type, size(&q))
				}
			}
			if slices.Sort(p.a.ids[EventDelivered]); !slices.Equal(p.a.ids[EventDelivered], []uint64{1, 2, 5, 6}) || len(p.b.got) != 4 {
				t.Errorf("%v, %d came", p.a.ids, len(p.b.got))
			}
			for i, id := range []byte{1, 2, 5, 6} {
				if got := p.b.got[i]; got == "" || strings.Trim(got, string(id)) != "" {
					t.Errorf("message %d is not what was sent", id)
				}
			}
			if _, ok := p.a.c.Oldest(); ok {
				t.Error("something waits")
			}
		})
	}
}

// A connection that is closed while only what does not fit waits, ends.
func TestShrunkMPSWhileClosing(t *testing.T) {
	cfg := plainConfig()
	cfg.MTU = 1472
	p, _ := held(t, cfg)
	if err := p.a.c.Send(p.now, 1, make([]byte, 1400)); err != nil {
		t.Fatal(err)
	}
	p.a.c.Close(p.now)
	p.exchange()
	p.wantStates(StateOpen, StateOpen)
	p.a.c.SetMTU(p.now, 600)
	p.exchange()
	p.wantStates(StateTimeWait, StateClosed)
	if p.a.count(EventDropped) != 1 {
		t.Errorf("%v", p.a.ids)
	}
}

func TestSetMTU(t *testing.T) {
	p := opened(t, plainConfig(), plainConfig())
	p.a.c.SetMTU(p.now, 1400)
	p.a.drain()
	if p.a.c.MPS() != 1400-64 || p.a.count(EventMPS) != 1 {
		t.Errorf("MPS %d", p.a.c.MPS())
	}
	p.a.c.SetMTU(p.now, 1)
	if p.a.c.MTU() != MinMTU || p.a.c.MPS() <= 0 {
		t.Errorf("%d, MPS %d", p.a.c.MTU(), p.a.c.MPS())
	}
	p.a.c.Abort(p.now, wire.ResetAborted)
	p.a.packets(p.now)
	p.a.c.SetMTU(p.now, 1400)
	if p.a.c.MPS() != 0 || p.a.c.PacketTooBig(p.now, 1300, p.a.c.gss) {
		t.Error("a closed connection has a packet size")
	}
}

// Routers that drop large packets without a word: after some timeouts without
// a message delivered the packet size goes back to what every path carries.
func TestBlackHole(t *testing.T) {
	cfg := simConfig(t)
	cfg.MTU = 1452
	p := newPair(t, cfg, cfg)
	carries := 9000
	p.lose = func(_ bool, q *wire.Packet) bool { return size(q) > carries }
	p.exchange()
	p.pass(time.Second)
	carries = 1300
	for i := range 20 {
		if err := p.a.c.Send(p.now, uint64(i), make([]byte, min(1388, p.a.c.MPS()))); err != nil {
			t.Fatal(err)
		}
	}
	p.pass(30 * time.Second)
	if p.a.c.MTU() != DefaultMTU {
		t.Fatalf("packet size %d, %+v", p.a.c.MTU(), p.a.c.Stats().Sender)
	}
	// What waited is given up, and told of; no fate stays open.
	if n := p.a.c.Stats().Outgrown; n == 0 || p.a.count(EventDropped) != int(n) {
		t.Errorf("%d messages outgrown, %v", n, p.a.ids)
	}
	from := len(p.b.got)
	for i := range 20 {
		if err := p.a.c.Send(p.now, uint64(100+i), make([]byte, p.a.c.MPS())); err != nil {
			t.Fatal(err)
		}
	}
	p.pass(2 * time.Minute)
	if len(p.b.got)-from < 20 {
		t.Errorf("%d messages came", len(p.b.got)-from)
	}
}

// Timeouts in quick succession, as congestion control has them on the shortest
// of paths while a host is busy, say nothing of the path.
func TestBlackHole_BusyHost(t *testing.T) {
	cfg := plainConfig()
	cfg.MTU = 1452
	p := opened(t, cfg, cfg)
	c := p.a.c
	s := &timingOut{Sender: c.sender}
	c.sender = s
	for _, row := range []struct {
		apart time.Duration
		want  int
	}{{time.Millisecond, 1452}, {minHole, DefaultMTU}} {
		for range blackHole {
			p.now = p.now.Add(row.apart)
			s.n++
			c.suspectHole(p.now)
		}
		if c.MTU() != row.want {
			t.Errorf("packet size %d after timeouts %v apart, want %d", c.MTU(), row.apart, row.want)
		}
	}
}

type timingOut struct {
	ccid.Sender
	n uint64
}

func (s *timingOut) Stats() ccid.SenderStats { return ccid.SenderStats{Timeouts: s.n} }

// However much there is to acknowledge beside it, a message within the MPS
// never makes a packet larger than the path carries.
func TestOptionsLeaveRoom(t *testing.T) {
	for _, checksum := range []bool{false, true} {
		for octets := 1; octets < 80; octets++ {
			cfg := plainConfig()
			cfg.DataChecksum = checksum
			p := opened(t, cfg, plainConfig())
			p.b.c.feat.ask(remote, wire.FeatSendNDPCount, []byte{1}, false)
			p.exchange()
			// Every second packet is missing: an octet each.
			c := p.a.c
			for range octets {
				q := forge(&p.a, wire.Data)
				q.Seq++
				p.a.handle(p.now, q)
			}
			c.ndp = 70_000
			if err := c.Send(p.now, 1, make([]byte, c.MPS())); err != nil {
				t.Fatal(err)
			}
			carried := false
			for {
				b, s, ok := c.AppendPacket(p.now, nil)
				if !ok {
					break
				}
				carried = carried || s.HasMessage
				if len(b) > c.MTU() || s.MayFragment {
					t.Errorf("checksum %v, vector of %d: %v of %d octets", checksum, octets, s.Type, len(b))
				}
			}
			if !carried {
				t.Errorf("checksum %v, vector of %d: the message waits", checksum, octets)
			}
		}
	}
}

// An answer to an old probe does not undo what the carrier knows by now.
func TestLateProbeAnswer(t *testing.T) {
	cfg := plainConfig()
	cfg.MaxMTU = 1400
	p := opened(t, cfg, plainConfig())
	p.a = side{t: t, c: p.a.c}
	c := p.a.c
	c.path.mtu, c.path.size, c.path.tries, c.path.seq = 1472, 1400, 1, c.gss
	q := forge(&p.a, wire.SyncAck)
	p.a.handle(p.now, q)
	if c.MTU() != 1472 {
		t.Errorf("packet size %d", c.MTU())
	}
}
