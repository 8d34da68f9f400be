package userspace

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/wire"
)

// relay is a network between clients and a server: what it does with each
// packet is up to the test. To the server all clients come from one address,
// as behind a NAT; answers go to the client that sent last.
type relay struct {
	front  *net.UDPConn
	server netip.AddrPort
	work   sync.WaitGroup

	mu     sync.Mutex
	back   *net.UDPConn
	client netip.AddrPort
	// pass says how often a packet goes on; nil: once.
	pass func(packet []byte, toServer bool) int
	seen func(packet []byte, toServer bool)
}

func newRelay(t testing.TB, server netip.AddrPort) *relay {
	t.Helper()
	r := &relay{server: server}
	r.front = socketAt(t, netip.AddrPortFrom(loopback4, 0))
	r.back = socketAt(t, netip.AddrPortFrom(loopback4, 0))
	r.work.Go(r.forth)
	r.work.Go(func() { r.home(r.back) })
	t.Cleanup(func() {
		r.front.Close()
		r.mu.Lock()
		r.back.Close()
		r.mu.Unlock()
		r.work.Wait()
	})
	return r
}

func socketAt(t testing.TB, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *relay) forth() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.client = from
		back := r.back
		times := r.times(b[:n], true)
		r.mu.Unlock()
		for range times {
			_, _ = back.WriteToUDPAddrPort(b[:n], r.server)
		}
	}
}

func (r *relay) home(back *net.UDPConn) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := back.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		client := r.client
		times := r.times(b[:n], false)
		r.mu.Unlock()
		for range times {
			_, _ = r.front.WriteToUDPAddrPort(b[:n], client)
		}
	}
}

func (r *relay) times(p []byte, toServer bool) int {
	if r.seen != nil {
		r.seen(p, toServer)
	}
	if r.pass == nil {
		return 1
	}
	return r.pass(p, toServer)
}

// set changes what happens to packets from now on.
func (r *relay) set(pass func(packet []byte, toServer bool) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pass = pass
}

// watch has each packet shown.
func (r *relay) watch(seen func(packet []byte, toServer bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = seen
}

// rebind gives the relay another port towards the server, as a NAT does that
// has forgotten.
func (r *relay) rebind(t testing.TB) {
	t.Helper()
	fresh := socketAt(t, netip.AddrPortFrom(loopback4, 0))
	r.mu.Lock()
	r.back.Close()
	r.back = fresh
	r.mu.Unlock()
	r.work.Go(func() { r.home(fresh) })
}

// inject sends a packet to the server as if from a client.
func (r *relay) inject(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = r.back.WriteToUDPAddrPort(p, r.server)
}

func none([]byte, bool) int { return 0 }

// lossy loses and doubles packets at random, of a seed.
func lossy(seed uint64, loss, double float64) func([]byte, bool) int {
	r := rand.New(rand.NewPCG(seed, 1))
	return func([]byte, bool) int {
		switch x := r.Float64(); {
		case x < loss:
			return 0
		case x < loss+double:
			return 2
		}
		return 1
	}
}

// through dials a server by a relay.
func (r *relay) dial(t testing.TB, l sctp.Acceptor, cfg Config) (sctp.Association, error) {
	t.Helper()
	cfg.UDPPort = r.front.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return Dial(withPatience(t), l.Addr(), cfg)
}

// pairBy is both ends of an association by a relay.
func pairBy(t testing.TB, server, client Config) (s, c *end, r *relay, l sctp.Acceptor) {
	t.Helper()
	return pairTo(t, listen(t, loopback4, server), client)
}

// pairTo is pairBy with a listener that is there already.
func pairTo(t testing.TB, l sctp.Acceptor, client Config) (s, c *end, r *relay, _ sctp.Acceptor) {
	t.Helper()
	r = newRelay(t, UDPAddr(l))
	ca, err := r.dial(t, l, client)
	if err != nil {
		t.Fatal(err)
	}
	sa, err := l.Accept(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	return receive(t, sa), receive(t, ca), r, l
}

// holds tells whether a packet has DATA with a text in it.
func holds(p []byte, text string) bool {
	w := wire.WalkChunks(p)
	for c := (wire.Chunk{}); w.Next(&c); {
		if c.Type == wire.DATA && bytes.Contains(c.Value, []byte(text)) {
			return true
		}
	}
	return false
}

// has tells whether a packet has a chunk of a type.
func has(p []byte, t wire.ChunkType) bool {
	w := wire.WalkChunks(p)
	for c := (wire.Chunk{}); w.Next(&c); {
		if c.Type == t {
			return true
		}
	}
	return false
}
