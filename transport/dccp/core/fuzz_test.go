package core

import (
	"testing"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/ccid3"
	"ipfixsuite/transport/dccp/wire"
)

// script reads a fuzzer's octets as choices.
type script []byte

func (s *script) octet() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) octets(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n:n]
	*s = (*s)[n:]
	return b
}

// near is a number around ref: near it, at the windows' ends, or far away.
func (s *script) near(ref wire.Seq) wire.Seq {
	d := int64(int8(s.octet()))
	switch s.octet() % 8 {
	case 0:
		d *= 8
	case 1:
		d *= 1 << 12
	case 2:
		d *= 1 << 40
	}
	return ref.Add(d)
}

// holds are the invariants of a connection, whatever comes in.
func holds(t *testing.T, c *Conn, transmitted map[uint64]bool) {
	t.Helper()
	if c.state > StateTimeWait {
		t.Fatalf("state %d", c.state)
	}
	if len(c.in.ring) > maxHistory || len(c.out.ring) > maxOutstanding || len(c.feat.confirms) > maxConfirms ||
		len(c.cookies) > maxCookies+maxConfirms || c.queue.n > c.cfg.QueueMessages || cap(c.scratch) > 4*wire.MaxHeader ||
		cap(c.vector) > 2*wire.MaxHeader || cap(c.received.joinedV) > 4*wire.MaxHeader {
		t.Fatalf("memory without bound: history %d, outstanding %d, confirms %d, cookies %d, scratch %d", len(c.in.ring),
			len(c.out.ring), len(c.feat.confirms), len(c.cookies), cap(c.scratch))
	}
	if c.in.ring != nil && c.gsr.Less(c.in.head) {
		t.Fatalf("GSR %d is before %d, which came", c.gsr, c.in.head)
	}
	if !c.ended() && (c.gss.Less(c.gar) && c.gss.Sub(c.iss) >= 0 || c.state != StateRequest && c.gar.Less(c.iss)) {
		t.Fatalf("GAR %d is not in [ISS %d, GSS %d]", c.gar, c.iss, c.gss)
	}
	messages := 0
	for i := range int64(c.out.n) {
		if e := c.out.at(c.out.base.Add(i)); e.bits&(sentMessage|sentDecided) == sentMessage {
			messages++
		}
	}
	if messages != c.out.messages {
		t.Fatalf("%d messages are undecided, counted %d", messages, c.out.messages)
	}
	if c.feat.value(local, wire.FeatSequenceWindow) < wire.MinSequenceWindow || c.feat.value(remote, wire.FeatSequenceWindow) < wire.MinSequenceWindow ||
		c.feat.value(local, wire.FeatAckRatio) == 0 || c.feat.value(remote, wire.FeatAckRatio) == 0 {
		t.Fatal("a feature has a value that it may not have")
	}
	for {
		e, ok := c.Event()
		if !ok {
			return
		}
		switch e.Kind {
		case EventTransmitted:
			transmitted[e.Message] = true
		case EventDelivered, EventLost, EventUnconfirmed:
			if !transmitted[e.Message] {
				t.Fatalf("message %d is %v but was not on its way", e.Message, e.Kind)
			}
			delete(transmitted, e.Message)
		}
	}
}

// FuzzConn lets a peer that keeps to nothing talk to a connection: whatever it
// sends, the connection neither panics nor forgets its bounds, and comes to an
// end when time passes.
func FuzzConn(f *testing.F) {
	for kind := range byte(4) {
		f.Add([]byte{kind, 1, 0, 0, 1, 0, 1, 0, 0, 0, 2, 4, 5, 0, 4, 0, 3, 1, 0, 4, 0, 9, 5, 9})
		f.Add([]byte{kind, 3, 8, 1, 0, 1, 0, 0, 0, 0, 3, 7, 1, 0, 0, 0, 0, 0})
		f.Add([]byte{kind, 2, 3, 3, 1, 4, 0, 4, 14, 32, 4, 1, 3, 32, 5, 5, 0, 9, 38, 3, 5, 40, 3, 160, 0, 0, 0, 4, 6, 3, 1, 6, 1, 4, 0, 0})
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := script(b)
		cfg := Config{CCIDs: []ccid.CCID{ccid2.New(), ccid3.New()}, QueueMessages: 20, MaxMTU: 1400}
		kind := s.octet()
		if kind&2 != 0 {
			cfg.CCIDs[0], cfg.CCIDs[1] = cfg.CCIDs[1], cfg.CCIDs[0]
		}
		now := start
		var c *Conn
		if kind&1 == 0 {
			c = NewClient(now, cfg, Ports{Local: 1, Remote: 2, Service: service}, wire.MakeSeq(1<<48-3))
		} else {
			c = new(Conn)
			c.respond(now, cfg, &wire.Packet{Type: wire.Request, Seq: wire.MakeSeq(1<<48 - 5), Service: service, Options: s.octets(int(s.octet()))}, 7)
		}
		transmitted := map[uint64]bool{}
		last := wire.Seq(0)
		flush := func() {
			holds(t, c, transmitted)
			for n := 0; ; n++ {
				out, sent, ok := c.AppendPacket(now, nil)
				holds(t, c, transmitted)
				if !ok {
					break
				}
				var p wire.Packet
				if err := p.Parse(out); err != nil || p.Seq != sent.Seq {
					t.Fatalf("made %x: %v", out, err)
				}
				last = p.Seq
				if n > 200 {
					t.Fatal("packets without end")
				}
			}
		}
		flush()
		for id := uint64(0); len(s) > 0; id++ {
			switch op := s.octet(); op % 8 {
			case 0, 1, 2, 3, 4:
				p := wire.Packet{Type: wire.Type(s.octet() % 11), CCVal: s.octet() & 15, Service: service, Seq: s.near(c.gsr.Add(1))}
				if p.Type.HasAck() {
					p.Ack = s.near(last)
				}
				p.Code = wire.ResetCode(op >> 4)
				p.Short = op&8 != 0 && p.Type.MayBeShort()
				n := int(s.octet())
				p.Options, p.Data = s.octets(n&63), s.octets(n>>6)
				c.HandlePacket(now, &p)
				if op&0x20 != 0 {
					c.Refuse(wire.DropReceiveBuffer)
				}
			case 5:
				now = now.Add(time.Duration(s.octet()) * 50 * time.Millisecond)
				c.HandleTimer(now)
			case 6:
				_ = c.Send(now, id, s.octets(int(s.octet()&31)))
			case 7:
				switch s.octet() % 8 {
				case 0:
					c.Close(now)
				case 1:
					c.SetMTU(now, int(s.octet())*8)
				case 2:
					c.PacketTooBig(now, int(s.octet())*8, last)
				case 3:
					c.SetSlow(true)
				default:
					now = now.Add(time.Minute)
					c.HandleTimer(now)
				}
			}
			flush()
		}
		// Left alone, it ends.
		c.Close(now)
		flush()
		for n := 0; c.State() != StateClosed; n++ {
			at := c.NextTimer()
			if at.IsZero() || n > 2000 {
				t.Fatalf("%v for ever", c.State())
			}
			if at.After(now) {
				now = at
			}
			c.HandleTimer(now)
			flush()
		}
		if len(transmitted) > 0 {
			t.Fatalf("nothing is known of %d messages", len(transmitted))
		}
	})
}

// FuzzListener sends it any packet at all.
func FuzzListener(f *testing.F) {
	l := newListener(f, func(c *ListenerConfig) { c.MaxHalfOpen = -1 })
	client, request := requestOf(f, plainConfig())
	b, _ := l.HandlePacket(start, tupleOf(1), &request, nil)
	raw, _ := request.AppendBinary(nil)
	f.Add(raw)
	f.Add(b)
	var response wire.Packet
	if err := response.Parse(b); err != nil {
		f.Fatal(err)
	}
	client.HandlePacket(start, &response)
	ack, _, _ := client.AppendPacket(start, nil)
	f.Add(ack)
	f.Fuzz(func(t *testing.T, b []byte) {
		var p wire.Packet
		if p.Parse(b) != nil {
			return
		}
		l := newListener(t, func(c *ListenerConfig) { c.MaxHalfOpen = 2 * int(b[0]&1) })
		for i := range 2 {
			q := p
			out, c := l.HandlePacket(start, tupleOf(i), &q, nil)
			if len(out) > 0 {
				var r wire.Packet
				if err := r.Parse(out); err != nil {
					t.Fatalf("answered %x: %v", out, err)
				}
				if p.Type == wire.Reset {
					t.Fatal("a Reset is answered")
				}
			}
			if c != nil {
				holds(t, c, map[uint64]bool{})
			}
		}
	})
}
