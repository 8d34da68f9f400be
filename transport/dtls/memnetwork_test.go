package dtls

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"ipfixsuite/transport"
)

// memNetwork is datagrams in memory. A filter may drop, change or repeat what
// passes.
type memNetwork struct {
	mu     sync.Mutex
	ports  map[netip.AddrPort]*memConn
	filter func(from, to netip.AddrPort, b []byte) [][]byte
}

func newMemNetwork() *memNetwork { return &memNetwork{ports: map[netip.AddrPort]*memConn{}} }

type memConn struct {
	n      *memNetwork
	addr   netip.AddrPort
	in     chan transport.Datagram
	closed chan struct{}
	once   sync.Once
	mtu    atomic.Int32
}

func (n *memNetwork) listen(addr string) *memConn {
	c := &memConn{n: n, addr: netip.MustParseAddrPort(addr), in: make(chan transport.Datagram, 4096), closed: make(chan struct{})}
	c.mtu.Store(1452)
	n.mu.Lock()
	n.ports[c.addr] = c
	n.mu.Unlock()
	return c
}

// send delivers b as if from had sent it.
func (n *memNetwork) send(from, to netip.AddrPort, b []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := [][]byte{b}
	if n.filter != nil {
		out = n.filter(from, to, b)
	}
	c := n.ports[to]
	if c == nil {
		return
	}
	for _, b := range out {
		select {
		case c.in <- transport.Datagram{Peer: from, Data: bytes.Clone(b)}:
		default:
		}
	}
}

func (n *memNetwork) setFilter(f func(from, to netip.AddrPort, b []byte) [][]byte) {
	n.mu.Lock()
	n.filter = f
	n.mu.Unlock()
}

func (c *memConn) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	select {
	case d := <-c.in:
		dst[0] = d
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.closed:
		return 0, net.ErrClosed
	}
	n := 1
	for n < len(dst) {
		select {
		case dst[n] = <-c.in:
			n++
		default:
			return n, nil
		}
	}
	return n, nil
}

func (c *memConn) WriteBatch(batch []transport.Datagram) (int, error) {
	for _, d := range batch {
		c.n.send(c.addr, d.Peer, d.Data)
	}
	return len(batch), nil
}

func (c *memConn) LocalAddr() netip.AddrPort      { return c.addr }
func (c *memConn) MaxDatagram(netip.AddrPort) int { return int(c.mtu.Load()) }
func (c *memConn) SocketDrops() uint64            { return 0 }
func (c *memConn) Unreachable() uint64            { return 0 }
func (c *memConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.n.mu.Lock()
		if c.n.ports[c.addr] == c {
			delete(c.n.ports, c.addr)
		}
		c.n.mu.Unlock()
	})
	return nil
}
