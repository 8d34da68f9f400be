package dccp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
	"ipfixsuite/transport/dtls"
)

// attack makes the packets of a flood on a listener at to, beside a living
// connection whose addresses and ports the attacker knows.
type attack func(r *rand.Rand, living core.Tuple, to Addr) (from netip.AddrPort, p wire.Packet)

// stranger is an address of 10.0.0.0/8.
func stranger(r *rand.Rand) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), uint16(r.Uint32()))
}

func anySeq(r *rand.Rand) wire.Seq { return wire.MakeSeq(r.Uint64()) }

var attacks = map[string]attack{
	"Requests from everywhere": func(r *rand.Rand, _ core.Tuple, to Addr) (netip.AddrPort, wire.Packet) {
		return stranger(r), wire.Packet{SrcPort: uint16(r.Uint32()), DstPort: to.Port, Type: wire.Request, Service: service, Seq: anySeq(r)}
	},
	"Requests of one host": func(r *rand.Rand, _ core.Tuple, to Addr) (netip.AddrPort, wire.Packet) {
		return netip.MustParseAddrPort("10.1.1.1:1"), wire.Packet{SrcPort: uint16(r.Uint32()), DstPort: to.Port, Type: wire.Request, Service: service, Seq: anySeq(r)}
	},
	"Requests for another service": func(r *rand.Rand, _ core.Tuple, to Addr) (netip.AddrPort, wire.Packet) {
		return stranger(r), wire.Packet{SrcPort: uint16(r.Uint32()), DstPort: to.Port, Type: wire.Request, Service: service + 1, Seq: anySeq(r)}
	},
	"strays": func(r *rand.Rand, _ core.Tuple, to Addr) (netip.AddrPort, wire.Packet) {
		return stranger(r), wire.Packet{SrcPort: uint16(r.Uint32()), DstPort: to.Port + uint16(r.IntN(2)), Type: wire.Ack, Seq: anySeq(r), Ack: anySeq(r)}
	},
	"forged Init Cookies": func(r *rand.Rand, _ core.Tuple, to Addr) (netip.AddrPort, wire.Packet) {
		cookie := make([]byte, 60)
		for i := range cookie {
			cookie[i] = byte(r.Uint32())
		}
		cookie[0] &= 1
		return stranger(r), wire.Packet{SrcPort: uint16(r.Uint32()), DstPort: to.Port, Type: wire.Ack, Seq: anySeq(r), Ack: anySeq(r),
			Options: wire.AppendOption(nil, wire.OptInitCookie, cookie...)}
	},
	"forged ends": func(r *rand.Rand, living core.Tuple, _ Addr) (netip.AddrPort, wire.Packet) {
		kinds := []wire.Type{wire.Reset, wire.Close, wire.CloseReq, wire.Sync, wire.SyncAck}
		return living.Local, wire.Packet{SrcPort: living.LocalPort, DstPort: living.RemotePort, Type: kinds[r.IntN(len(kinds))], Seq: anySeq(r), Ack: anySeq(r)}
	},
	"forged data, impossible options": func(r *rand.Rand, living core.Tuple, _ Addr) (netip.AddrPort, wire.Packet) {
		// Each says that it is longer than the header.
		options := make([]byte, 4*(1+r.IntN(20)))
		for i := range options {
			options[i] = byte(r.Uint32())
		}
		options[0], options[1] = byte(wire.OptAckVector0), byte(len(options)+1+r.IntN(100))
		return living.Local, wire.Packet{SrcPort: living.LocalPort, DstPort: living.RemotePort, Type: wire.DataAck, Seq: anySeq(r), Ack: anySeq(r),
			Options: options, Data: []byte("forged")}
	},
}

// TestFloods: 10000 hostile packets a second, of each kind, for three seconds of
// virtual time: what a living connection sends comes without a loss and at once;
// answers, connections and what is remembered stay bounded; all of it is counted.
func TestFloods(t *testing.T) {
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { flooded(t, attack) })
		})
	}
}

func flooded(t *testing.T, attack attack) {
	const seconds, perMillisecond = 3, 10
	n := newLAN()
	e := n.endpoint(t, "192.0.2.1:6511", false)
	l, err := e.Listen(4739, []ServiceCode{service}, ListenConfig{Config: Config{Receive: func(c *Conn, msg []byte) {
		if _, err := c.TrySend(msg); err != nil {
			t.Error(err)
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	to := l.Addr().(Addr)
	c, err := n.dial(within(t), t, "192.0.2.2:9", to, service, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ping := func(text string) {
		t.Helper()
		began := time.Now()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		expect(t, c, text)
		if took := time.Since(began); took > 2*n.delay {
			t.Errorf("%s: the answer took %v", text, took)
		}
	}
	ping("before")
	s, err := l.accept(within(t))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := rand.New(rand.NewPCG(4340, 1))
	sent := 0
	for i := 0; time.Since(began) < seconds*time.Second; i++ {
		before := time.Now()
		for range 2 * int(n.delay/time.Millisecond) * perMillisecond {
			from, p := attack(r, c.key, to)
			b, err := p.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			n.inject(from, collectorAt, b)
			sent++
		}
		ping(fmt.Sprint(i))
		if time.Now().Equal(before) {
			t.Fatal("no time goes by")
		}
	}
	synctest.Wait()
	for _, c := range []*Conn{c, s} {
		if st := c.Stats(); st.Lost+st.Duplicates != 0 || c.Err() != nil {
			t.Errorf("%v, %+v", c.Err(), st)
		}
	}

	st := e.Stats()
	k := st.Listeners[to.Port]
	// What a bucket holds, and what flows into it.
	const limit = seconds + 2
	answers := n.packets(func(p lanPacket) bool { return p.from == collectorAt && p.to != c.key.Local })
	syncs := n.packets(func(p lanPacket) bool {
		return p.from == collectorAt && p.to == c.key.Local && (p.Type == wire.Sync || p.Type == wire.Reset)
	})
	t.Logf("%d packets, %d answers, %d Syncs and Resets; %+v; %+v; %+v", sent, len(answers), len(syncs), k, st.Stray, s.Stats())
	if st.Conns > 257 || k.HalfOpen > 256 || k.Accepted+k.CookiesTaken > 257 {
		t.Errorf("%d connections, %d half-open", st.Conns, k.HalfOpen)
	}
	if k.ResetsSent > limit*1024 || st.Stray.ResetsSent > limit*1024 || k.CookiesSent > limit*4096 || len(answers) > limit*(2*1024+4096)+256 {
		t.Errorf("%d answers: %+v, %+v", len(answers), k, st.Stray)
	}
	if len(syncs) > limit*8 {
		t.Errorf("%d Syncs and Resets to the living one", len(syncs))
	}
	in := s.Stats()
	counted := k.ResetsSent + k.ResetsLimited + k.CookiesSent + k.CookiesLimited + k.Accepted + st.Stray.ResetsSent + st.Stray.ResetsLimited +
		in.SequenceInvalid + in.SyncInvalid + in.OptionErrors + in.Unexpected + in.Stale
	if counted+counted/100 < uint64(sent) { // a few are for half-open connections
		t.Errorf("%d of %d packets are counted", counted, sent)
	}

	// Handshakes that nobody ends are given up.
	pass(10 * time.Minute)
	ping("after")
	if st := e.Stats(); st.Conns != 1 || st.Listeners[to.Port].HalfOpen != 0 {
		t.Errorf("after ten minutes: %+v", st)
	}
}

// A collector of DTLS sends connections away whose network has enough that never
// began a handshake. They hold up nobody, though nothing answers at their ends.
func TestConnectionsSentAway(t *testing.T) {
	const flood = 30
	inBubble(t, func(collector, _ *dtls.Config) { collector.MaxHalfOpenPerPrefix = 2 }, func(t *testing.T, s *secured) {
		network := netip.MustParsePrefix("198.51.100.0/24")
		s.lan.set(func(n *lan) {
			n.lose = func(p lanPacket) bool {
				return (network.Contains(p.from.Addr()) || network.Contains(p.to.Addr())) && p.Type >= wire.CloseReq
			}
		})
		for i := range flood {
			if _, err := s.lan.dial(t.Context(), t, fmt.Sprintf("198.51.100.%d:9", i), collectorTo, secureService, Config{}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		session, a := s.dial(s.dialer())
		if took := time.Since(began); took > time.Second {
			t.Errorf("a session took %v to open", took)
		}
		if st := s.listener.Stats(); st.HandshakesLimited != flood-2 {
			t.Errorf("%d connections sent away", st.HandshakesLimited)
		}
		s.part(session, a)
	})
}

// RFC 6773, Section 3.8, second method: connections are told apart by all six,
// addresses, UDP ports and DCCP ports: hosts, and programs on one host, that
// happen to choose the same DCCP port do not disturb each other.
func TestRFC6773_3_8_SixTuple(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newLAN()
		e := n.endpoint(t, "192.0.2.1:6511", false)
		l, err := e.Listen(4739, []ServiceCode{service}, ListenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		to := l.Addr().(Addr)
		var ends [][2]*Conn
		first := clientPort() &^ 1 // those of a test before, at the same virtual time, are in TIMEWAIT
		for _, from := range []string{"192.0.2.2:50000", "192.0.2.2:50001", "192.0.2.3:50000"} {
			at := n.endpoint(t, from, false)
			for _, port := range []uint16{first, first + 1} {
				c, err := at.connect(within(t), to, port, service, &Config{})
				if err != nil {
					t.Fatal(err)
				}
				hello := c.LocalAddr().String()
				if _, err := c.Write([]byte(hello)); err != nil {
					t.Fatal(err)
				}
				s, err := l.accept(within(t))
				if err != nil {
					t.Fatal(err)
				}
				expect(t, s, hello)
				if s.RemoteAddr().String() != hello {
					t.Errorf("%v is %v", hello, s.RemoteAddr())
				}
				ends = append(ends, [2]*Conn{c, s})
			}
			if _, err := at.connect(within(t), to, first, service, &Config{}); err == nil {
				t.Error("the same six twice")
			}
		}
		for i, end := range ends {
			for _, way := range [][2]*Conn{{end[0], end[1]}, {end[1], end[0]}} {
				text := fmt.Sprint("connection ", i)
				if _, err := way[0].Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
				expect(t, way[1], text)
			}
		}
		if st := e.Stats(); st.Conns != len(ends) || st.Stray.Strays != 0 {
			t.Errorf("%+v", st)
		}
		for _, end := range ends {
			if err := end[0].Abort(); err != nil {
				t.Error(err)
			}
		}
	})
}
