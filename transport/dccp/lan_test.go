package dccp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/wire"
)

// lan is a network in memory. In a bubble of testing/synctest its time is
// virtual, and so is that of all that runs over it.
type lan struct {
	mu    sync.Mutex
	ports map[netip.AddrPort]*lanSocket
	delay time.Duration // one way
	mtu   int           // of DCCP packets
	lose  func(p lanPacket) bool
	seen  []lanPacket
}

// lanPacket is one that was sent, whether it arrived or not.
type lanPacket struct {
	wire.Packet // its data is its own
	at          time.Time
	from, to    netip.AddrPort
	octets      int
}

func newLAN() *lan {
	return &lan{ports: map[netip.AddrPort]*lanSocket{}, delay: 5 * time.Millisecond, mtu: 1472}
}

// set changes the network while it is in use.
func (n *lan) set(change func(n *lan)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// packets are those sent so far that which chooses.
func (n *lan) packets(which func(p lanPacket) bool) (list []lanPacket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.seen {
		if which(p) {
			list = append(list, p)
		}
	}
	return list
}

// lanSocket implements socket.
type lanSocket struct {
	n      *lan
	addr   netip.AddrPort
	wire   chan delivery // what is on its way here, in order
	in     chan transport.Datagram
	closed chan struct{}
	once   sync.Once
}

type delivery struct {
	due time.Time
	d   transport.Datagram
}

// open makes a socket; its goroutine ends with it.
func (n *lan) open(addr netip.AddrPort) *lanSocket {
	s := &lanSocket{n: n, addr: addr, wire: make(chan delivery, 4096), in: make(chan transport.Datagram, 4096), closed: make(chan struct{})}
	n.set(func(n *lan) { n.ports[addr] = s })
	go s.carry()
	return s
}

func (s *lanSocket) carry() {
	for {
		select {
		case p := <-s.wire:
			timer := time.NewTimer(time.Until(p.due))
			select {
			case <-timer.C:
				s.in <- p.d
			case <-s.closed:
				return
			}
		case <-s.closed:
			return
		}
	}
}

func (s *lanSocket) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	select {
	case dst[0] = <-s.in:
		return 1, nil
	case <-s.closed:
		return 0, net.ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *lanSocket) WriteBatch(batch []transport.Datagram) (n int, err error) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	for _, d := range batch {
		p := lanPacket{at: time.Now(), from: s.addr, to: d.Peer, octets: len(d.Data)}
		b := bytes.Clone(d.Data)
		if err := p.Parse(b); err != nil {
			return n, err
		}
		if len(b) > s.n.mtu && !slices.Contains([]wire.Type{wire.Request, wire.Response, wire.Reset}, p.Type) {
			return n, transport.ErrTooLarge
		}
		n++
		s.n.seen = append(s.n.seen, p)
		if s.n.lose == nil || !s.n.lose(p) {
			s.n.deliver(s.addr, d.Peer, b)
		}
	}
	return n, nil
}

// deliver sends b on its way; n.mu is held.
func (n *lan) deliver(from, to netip.AddrPort, b []byte) {
	if s := n.ports[to]; s != nil {
		s.wire <- delivery{time.Now().Add(n.delay), transport.Datagram{Peer: from, Data: b}}
	}
}

// inject is a datagram of whoever, whatever its source says; packets does not
// know of it.
func (n *lan) inject(from, to netip.AddrPort, b []byte) {
	n.set(func(n *lan) { n.deliver(from, to, b) })
}

func (s *lanSocket) MaxDatagram(netip.AddrPort) int {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.n.mtu
}

func (s *lanSocket) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.n.set(func(n *lan) { delete(n.ports, s.addr) })
	})
	return nil
}

func (s *lanSocket) LocalAddr() netip.AddrPort             { return s.addr }
func (s *lanSocket) SocketDrops() uint64                   { return 0 }
func (s *lanSocket) Unreachable() uint64                   { return 0 }
func (s *lanSocket) Pressed() bool                         { return false }
func (s *lanSocket) Stats() carrier.Stats                  { return carrier.Stats{} }
func (s *lanSocket) Source(netip.Addr) (netip.Addr, error) { return s.addr.Addr(), nil }
func (n *lan) endpoint(t testing.TB, at string, alone bool) *Endpoint {
	t.Helper()
	addr := netip.MustParseAddrPort(at)
	e, err := newEndpoint(n.open(addr), Addr{IP: addr.Addr(), UDP: addr.Port()}, Config{}, alone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// dial connects from a socket of its own.
func (n *lan) dial(ctx context.Context, t testing.TB, from string, to Addr, s ServiceCode, cfg Config) (*Conn, error) {
	e := n.endpoint(t, from, true)
	c, err := e.connect(ctx, to, clientPort(), s, &cfg)
	for errors.Is(err, errPortInUse) { // by a test before, at the same virtual time
		c, err = e.connect(ctx, to, clientPort(), s, &cfg)
	}
	if err != nil {
		_ = e.Close()
	}
	return c, err
}
