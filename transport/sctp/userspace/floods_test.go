package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// An INIT costs the listener no memory, and INITs are answered at a limited
// rate; meanwhile those from elsewhere get through.
func TestListener_InitFlood(t *testing.T) {
	cfg := Config{Handshakes: 1000, HandshakesPerPrefix: 50}
	l := listen(t, loopback4, cfg)
	a := attack(t, l, "127.0.1.1")
	const flood = 3000
	for i := range uint32(flood) {
		a.send(packet(uint16(1+i%60000), 0, initChunk(i+1)))
		if i%500 == 0 { // one of ours in the middle of it
			s, c := pairOn(t, l, Config{})
			c.send(t, sctp.Message{Data: []byte("through")})
			s.next(t, sctp.EventMessage)
			c.Abort("")
			s.over(t)
		}
	}
	eventually(t, func() bool { return l.Stats().PacketsReceived+l.Stats().SocketDrops >= flood }, func() any { return l.Stats() })
	st := l.Stats()
	answered := a.answers(40)
	// 50 at once and 50 a second: how long it took is not ours to say.
	if st.Limited < flood/2 || answered[wire.InitAck]+int(st.Limited) > flood || answered[wire.InitAck] < 40 {
		t.Errorf("%d limited, %v answered", st.Limited, answered)
	}
	if st.Dropped[shim.DropLimited.String()] != st.Limited {
		t.Errorf("%d limited, dropped %v", st.Limited, st.Dropped)
	}
	if n := l.(*acceptor).s.Associations(); n != 0 {
		t.Errorf("%d associations", n)
	}
}

// COOKIE ECHOs that somebody forges in the name of a network shut nobody of that
// network out.
func TestListener_ForgedCookies(t *testing.T) {
	l := listen(t, loopback4, Config{HandshakesPerPrefix: 2})
	a := attack(t, l, "127.0.1.1")
	cookie := wire.AppendChunk(nil, wire.CookieEcho, 0, make([]byte, 200))
	const flood = 500
	for i := range uint32(flood) {
		a.send(packet(uint16(1+i), i+1, cookie))
	}
	cfg := Config{Local: netip.MustParseAddrPort("127.0.1.2:0")}
	s, c := pairOn(t, l, cfg)
	c.send(t, sctp.Message{Data: []byte("through")})
	s.next(t, sctp.EventMessage)
	st := l.Stats()
	if st.Limited != 0 || st.Dropped[shim.DropCookie.String()]+st.SocketDrops != flood {
		t.Errorf("%+v", st)
	}
}

// All floods at once, from many networks, do nothing to an association that
// lives: what it sends comes, in order, and nothing of the floods is kept.
func TestListener_FloodsTouchNobody(t *testing.T) {
	l := listen(t, loopback4, Config{Handshakes: 300, HandshakesPerPrefix: 20, Strays: 100})
	s, c := pairOn(t, l, Config{})
	living := s.Association.(*association).terms
	data := (&wire.Data{Flags: 3, TSN: living.PeerTSN, User: []byte("forged")}).Append(nil)
	kinds := []func(i uint32) []byte{
		func(i uint32) []byte { return packet(uint16(1+i%60000), 0, initChunk(i+1)) },
		func(i uint32) []byte {
			return packet(uint16(1+i%60000), i+1, wire.AppendChunk(nil, wire.CookieEcho, 0, make([]byte, 120)))
		},
		func(i uint32) []byte { return packet(7, i+1, wire.AppendChunk(nil, wire.Heartbeat, 0, nil)) },
		func(uint32) []byte {
			return packet(living.PeerPort, living.LocalTag, wire.AppendChunk(nil, wire.Abort, 0, nil))
		},
		func(i uint32) []byte { return packet(living.PeerPort, living.LocalTag+1+i, data) },
		func(i uint32) []byte {
			p := packet(living.PeerPort, living.LocalTag, data)
			p[8] ^= byte(i | 1)
			return p
		},
		func(i uint32) []byte { return packet(living.PeerPort, 0, data[:len(data)-int(i%8)]) },
	}
	var from []*attacker
	for i := range 64 {
		from = append(from, attack(t, l, fmt.Sprintf("127.%d.%d.1", 1+i%8, i)))
	}
	// In bursts that fit the socket: what no machine can take is not in question.
	const bursts = 300
	for i := range uint32(bursts) {
		for k := range uint32(len(kinds) * 8) {
			n := i*uint32(len(kinds)*8) + k
			from[n%uint32(len(from))].send(kinds[k%uint32(len(kinds))](n))
		}
		c.send(t, sctp.Message{Stream: uint16(i % 3), Data: numbered(int(i), 400)})
		if g := s.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(int(i), 400)) {
			t.Fatalf("message %d is %.8q", i, g.data)
		}
	}
	if n := l.(*acceptor).s.Associations(); n != 1 {
		t.Errorf("%d associations", n)
	}
	dropped := l.Stats().Dropped
	for _, reason := range []shim.Drop{shim.DropLimited, shim.DropCookie, shim.DropSuppressed, shim.DropTag, shim.DropAddress, shim.DropChecksum, shim.DropInit} {
		if dropped[reason.String()] == 0 {
			t.Errorf("nothing dropped as %v: %v", reason, dropped)
		}
	}
	if err := errors.Join(c.Heartbeat(withPatience(t)), c.Shutdown()); err != nil {
		t.Error(err)
	}
}

// Answers to strays are limited as well.
func TestListener_StrayFlood(t *testing.T) {
	l := listen(t, loopback4, Config{Strays: 100})
	a := attack(t, l, "127.0.1.1")
	beat := wire.AppendChunk(nil, wire.Heartbeat, 0, nil)
	const flood = 500
	for i := range uint32(flood) {
		a.send(packet(7, i+1, beat))
	}
	eventually(t, func() bool { return l.Stats().PacketsReceived+l.Stats().SocketDrops >= flood }, func() any { return l.Stats() })
	seen, suppressed := l.Stats().Dropped[shim.DropTag.String()], l.Stats().Dropped[shim.DropSuppressed.String()]
	answered := a.answers(int(seen - suppressed))[wire.Abort]
	if uint64(answered)+suppressed != seen || answered == 0 || suppressed < seen/2 {
		t.Errorf("%d of %d answered, %d suppressed", answered, seen, suppressed)
	}
}

// A cookie opens one association, and after its end none.
func TestListener_CookieIsGoodOnce(t *testing.T) {
	l := listen(t, loopback4, Config{})
	r := newRelay(t, UDPAddr(l))
	var mu sync.Mutex
	var echo []byte
	r.watch(func(p []byte, _ bool) {
		mu.Lock()
		defer mu.Unlock()
		if has(p, wire.CookieEcho) {
			echo = bytes.Clone(p)
		}
	})
	ca, err := r.dial(t, l, Config{})
	if err != nil {
		t.Fatal(err)
	}
	sa, err := l.Accept(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	s := receive(t, sa)
	mu.Lock()
	again := echo
	mu.Unlock()
	r.inject(again) // the COOKIE ACK may have been lost: answered
	r.inject(again)
	socket := l.(*acceptor).s
	if n := socket.Associations(); n != 1 {
		t.Errorf("%d associations", n)
	}
	ca.Abort("")
	s.over(t)
	eventually(t, func() bool { return socket.Associations() == 0 }, func() any { return socket.Associations() })
	r.inject(again)
	eventually(t, func() bool { return l.Stats().Dropped[shim.DropCookie.String()] == 1 }, func() any { return l.Stats() })
	if n := socket.Associations(); n != 0 {
		t.Errorf("%d associations", n)
	}
}
