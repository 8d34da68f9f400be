package userspace

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// attacker is a UDP socket that speaks SCTP as badly as a test wants.
type attacker struct {
	*net.UDPConn
	t  testing.TB
	to netip.AddrPort
}

func attack(t testing.TB, l sctp.Acceptor, from string) *attacker {
	t.Helper()
	c := socketAt(t, netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	t.Cleanup(func() { c.Close() })
	return &attacker{c, t, UDPAddr(l)}
}

func (a *attacker) send(p []byte) {
	if _, err := a.WriteToUDPAddrPort(p, a.to); err != nil {
		a.t.Fatal(err)
	}
}

// packet is a packet to the test port with a right checksum.
func packet(src uint16, tag uint32, chunks []byte) []byte {
	b := append(wire.Header{Src: src, Dst: testPort, Tag: tag}.Append(nil), chunks...)
	wire.SetChecksum(b)
	return b
}

func initChunk(tag uint32) []byte {
	b := wire.BeginChunk(nil, wire.INIT, 0)
	init := wire.Init{Tag: tag, Window: 1 << 16, Out: 10, In: 10, TSN: 1}
	return wire.EndChunk(init.AppendFixed(b), 0)
}

// answers counts, by type of the first chunk, what comes back: at least so many
// packets, and what follows them within a moment.
func (a *attacker) answers(least int) map[wire.ChunkType]int {
	n := map[wire.ChunkType]int{}
	b := make([]byte, 1<<16)
	for got := 0; ; got++ {
		wait := 50 * time.Millisecond
		if got < least {
			wait = patience
		}
		_ = a.SetReadDeadline(time.Now().Add(wait))
		size, _, err := a.ReadFromUDPAddrPort(b)
		if err != nil {
			return n
		}
		n[wire.FirstType(b[:size])]++
	}
}

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

// Packets against the rules are dropped and counted, each for its reason, and
// nothing they say is believed.
func TestListener_BadPackets(t *testing.T) {
	l := listen(t, loopback4, Config{})
	s, c := pairOn(t, l, Config{})
	core := s.Association.(*association)
	from := c.Association.(*association)
	tag := core.terms.LocalTag
	a := attack(t, l, "127.0.0.1")
	elsewhere := attack(t, l, "127.0.2.1")
	data := (&wire.Data{Flags: 3, TSN: core.terms.PeerTSN, User: []byte("forged")}).Append(nil)
	abort := wire.AppendChunk(nil, wire.Abort, 0, nil)
	port := core.terms.PeerPort
	broken := packet(port, tag, data)
	broken[len(broken)-1] ^= 1
	truncated := packet(port, tag, data[:len(data)-4])
	cookie := wire.AppendChunk(nil, wire.CookieEcho, 0, make([]byte, 200))

	for _, row := range []struct {
		name   string
		from   *attacker
		in     []byte
		reason shim.Drop
	}{
		{"too short", a, []byte("short"), shim.DropMalformed},
		{"port 0", a, packet(0, tag, data), shim.DropMalformed},
		{"wrong checksum", a, broken, shim.DropChecksum},
		{"truncated chunk", a, truncated, shim.DropMalformed},
		{"unknown tag", a, packet(port, tag+1, data), shim.DropTag},
		{"ABORT with an unknown tag", a, packet(port, tag+1, abort), shim.DropTag},
		{"another address", elsewhere, packet(port, tag, abort), shim.DropAddress},
		{"another port", a, packet(port+1, tag, abort), shim.DropAddress},
		{"DATA with tag 0", a, packet(port, 0, data), shim.DropInit},
		{"a cookie of its own", a, packet(port+2, 77, cookie), shim.DropCookie},
	} {
		before := l.Stats().Dropped[row.reason.String()]
		row.from.send(row.in)
		eventually(t, func() bool { return l.Stats().Dropped[row.reason.String()] == before+1 },
			func() any { return fmt.Sprint(row.name, l.Stats().Dropped) })
	}
	// Strays are answered by ABORT, ABORTs by nothing.
	if got := a.answers(1); got[wire.Abort] != 1 || len(got) != 1 {
		t.Errorf("answered %v", got)
	}
	// Unknown chunks and parameters in a living association.
	odd := wire.AppendChunk(nil, 0xBE, 0, []byte("odd"))
	from.s.out.put(append(take(0), packet(port, tag, odd)...), from.remote, netip.Addr{}, true)
	eventually(t, func() bool { return l.Stats().Dropped[shim.DropUnknown.String()] == 1 }, func() any { return l.Stats().Dropped })

	c.send(t, sctp.Message{Data: []byte("genuine")})
	if g := s.next(t, sctp.EventMessage); string(g.data) != "genuine" {
		t.Errorf("delivered %q", g.data)
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

// Associations are bounded in all and for one prefix; what is turned away is
// counted and finds room when there is some.
func TestListener_Limits(t *testing.T) {
	l := listen(t, loopback4, Config{MaxAssociations: 5, MaxPerPrefix: 2})
	client := func(ctx context.Context, ip string) (*end, error) {
		cfg := hasty()
		cfg.MaxRetransmits = 1 << 20
		cfg.Local = netip.AddrPortFrom(netip.MustParseAddr(ip), 0)
		cfg.UDPPort = UDPAddr(l).Port()
		a, err := Dial(ctx, l.Addr(), cfg)
		if err != nil {
			return nil, err
		}
		return receive(t, a), nil
	}
	var last *end
	for _, ip := range []string{"127.0.1.1", "127.0.1.2", "127.0.2.1", "127.0.3.1", "127.0.4.1"} {
		var err error
		if last, err = client(withPatience(t), ip); err != nil {
			t.Fatalf("%s: %v", ip, err)
		}
	}
	for ip, why := range map[string]string{"127.0.1.3": "a third of the prefix", "127.0.5.1": "a sixth in all"} {
		ctx, giveUp := context.WithCancel(withPatience(t))
		refused := make(chan error, 1)
		before := l.Stats().Limited
		go func() { _, err := client(ctx, ip); refused <- err }()
		eventually(t, func() bool { return l.Stats().Limited > before }, func() any { return l.Stats() })
		giveUp()
		if err := <-refused; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if n := l.(*acceptor).s.Associations(); n != 5 {
		t.Errorf("%d associations", n)
	}
	last.Abort("")
	if _, err := client(withPatience(t), "127.0.6.1"); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

// What nobody reads is bounded on the socket in all, and associations that are
// read go on beside those that are not.
func TestSocket_MemoryIsShared(t *testing.T) {
	const memory = 400_000
	l := listen(t, loopback4, Config{Memory: memory})
	socket := l.(*acceptor).s
	flood := patient()
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for range 3 { // never read
		ca, err := dial(t, l, flood)
		if err != nil {
			t.Fatal(err)
		}
		c := receive(t, ca)
		if _, err := l.Accept(withPatience(t)); err != nil {
			t.Fatal(err)
		}
		senders.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Send(ctx, []sctp.Message{{Data: numbered(0, 1200)}}); err != nil {
					return
				}
			}
		})
	}
	defer senders.Wait()
	defer cancel()
	eventually(t, func() bool { return l.Stats().Dropped[shim.DropQueue.String()] > 0 }, func() any { return l.Stats() })
	s, c := pairOn(t, l, patient())
	for i := range 300 {
		c.send(t, sctp.Message{Data: numbered(i, 1200)})
		if g := s.next(t, sctp.EventMessage); !bytes.Equal(g.data, numbered(i, 1200)) {
			t.Fatalf("message %d: %.8q", i, g.data)
		}
		if use := socket.use.Load(); use > 2*memory {
			t.Fatalf("%d octets held", use)
		}
	}
}

func TestDial_Fails(t *testing.T) {
	plain := listen(t, loopback4, Config{})
	secure := listen(t, loopback4, Config{Config: sctp.Config{Auth: true}})
	auth := Config{Config: sctp.Config{Auth: true}}
	auth.UDPPort = UDPAddr(plain).Port()
	if _, err := Dial(withPatience(t), plain.Addr(), auth); !errors.Is(err, shim.ErrPeerNoAuth) {
		t.Errorf("SCTP-AUTH demanded of a plain listener: %v", err)
	}
	if _, err := dial(t, secure, Config{}); err == nil || !strings.Contains(err.Error(), "SCTP-AUTH is required") {
		t.Errorf("plain at one that demands SCTP-AUTH: %v", err)
	}
	if n := secure.Stats().Refused; n != 1 {
		t.Errorf("%d refused", n)
	}
	closed := netip.AddrPortFrom(loopback4, testPort+1)
	if _, err := Dial(withPatience(t), closed, Config{UDPPort: UDPAddr(plain).Port()}); err == nil {
		t.Error("dialed a port where nobody listens")
	} else if _, ok := errors.AsType[*shim.RefusedError](err); !ok {
		t.Errorf("a port where nobody listens: %v", err)
	}
	r := newRelay(t, UDPAddr(plain))
	r.set(none)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cfg := Config{UDPPort: r.front.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
	if _, err := Dial(ctx, plain.Addr(), cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	cfg.Config = hasty().Config
	if _, err := Dial(withPatience(t), plain.Addr(), cfg); !errors.Is(err, shim.ErrNoAnswer) {
		t.Errorf("no answer and no deadline: %v", err)
	}
	cfg.RTOMin = time.Hour
	if _, err := Dial(withPatience(t), plain.Addr(), cfg); !errors.Is(err, errTimers) {
		t.Errorf("timers out of order: %v", err)
	}
}

// One UDP socket carries many associations, of two ports, dialed from one
// other socket; closing it ends them all.
func TestSocket_ManyAssociations(t *testing.T) {
	before := runtime.NumGoroutine()
	server, err := Open(netip.AddrPortFrom(loopback4, 0), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := Open(netip.AddrPortFrom(loopback4, 0), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const each = 25
	var work, used sync.WaitGroup
	for _, port := range []uint16{4739, 4740} {
		l, err := server.Listen(port, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Listen(port, Config{}); err == nil {
			t.Error("listens twice on one port")
		}
		work.Go(func() {
			for range each {
				a, err := l.Accept(withPatience(t))
				if err != nil {
					t.Error(err)
					return
				}
				work.Go(func() { mirror(a) })
			}
		})
		for i := range each {
			used.Add(1)
			work.Go(func() {
				done := sync.OnceFunc(used.Done)
				defer done()
				cfg := Config{UDPPort: server.UDPAddr().Port()}
				a, err := client.Dial(withPatience(t), netip.AddrPortFrom(loopback4, port), cfg)
				if err != nil {
					t.Error(err)
					return
				}
				text := fmt.Sprintf("association %d of port %d", i, port)
				if _, err := a.Send(withPatience(t), []sctp.Message{{Data: []byte(text)}}); err != nil {
					t.Error(err)
				}
				var ev sctp.Event
				if err := a.Receive(&ev); err != nil || string(ev.Message.Data) != text {
					t.Errorf("%q, %v", ev.Message.Data, err)
				}
				if i%2 == 0 { // the others end with their socket
					_ = a.Shutdown()
				}
				done()
				for a.Receive(&ev) == nil {
				}
			})
		}
	}
	used.Wait()
	living := func() any { return server.Associations() }
	eventually(t, func() bool { return server.Associations() == 2*(each/2) }, living)
	client.Close()
	work.Wait()
	eventually(t, func() bool { return server.Associations() == 0 }, living)
	server.Close()
	if n := server.use.Load() + client.use.Load(); n != 0 {
		t.Errorf("%d octets are still accounted for", n)
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= before },
		func() any { b := make([]byte, 1<<16); return string(b[:runtime.Stack(b, true)]) })
}

// mirror sends everything back until the association ends.
func mirror(a sctp.Association) {
	var ev sctp.Event
	for a.Receive(&ev) == nil {
		if ev.Kind == sctp.EventMessage {
			_, _ = a.Send(context.Background(), []sctp.Message{ev.Message})
		}
	}
}

func TestListener_Close(t *testing.T) {
	l := listen(t, loopback4, Config{})
	s, c := pairOn(t, l, Config{})
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Accept(context.Background())
		waiting <- err
	}()
	l.Close()
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := s.over(t); err == nil {
		t.Error("the accepted association lives on without a socket")
	}
	_, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
		t.Errorf("the client is told %v", err)
	}
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l2 := listen(t, loopback4, Config{})
	if _, err := l2.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept with a context that has ended: %v", err)
	}
}

// What pion would stumble over never reaches it: thousands of random packets
// under a living association's tag do no harm.
func TestAssociation_RandomPackets(t *testing.T) {
	l := listen(t, loopback4, Config{})
	s, c := pairOn(t, l, Config{})
	from := c.Association.(*association)
	to := s.Association.(*association)
	seed := []byte{}
	for kind := range 256 {
		switch wire.ChunkType(kind) {
		case wire.Abort, wire.Shutdown, wire.ForwardTSN:
			continue // these would rightly do something
		}
		for size := range 24 {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(kind*31 + size*7 + i*13)
			}
			if wire.ChunkType(kind) == wire.DATA && size >= 12 {
				binary.BigEndian.PutUint32(b, to.terms.PeerTSN+1<<30) // far beyond the window
			}
			if wire.ChunkType(kind) == wire.DATA && size == 12 {
				continue // no user data: ends the association
			}
			seed = wire.AppendChunk(seed[:0], wire.ChunkType(kind), byte(size)|wire.FlagEnd, b)
			p := packet(to.terms.PeerPort, to.terms.LocalTag, seed)
			from.s.out.put(append(take(len(p)), p...), from.remote, netip.Addr{}, true)
		}
	}
	c.send(t, sctp.Message{Data: []byte("unharmed")})
	if g := s.next(t, sctp.EventMessage); string(g.data) != "unharmed" {
		t.Errorf("%q", g.data)
	}
}
