package dccp

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
)

// Endpoint runs connections of both roles over one socket: any number of
// Listeners, on several DCCP ports, and of dialled connections. Dial and
// Listen of this package make one for themselves.
type Endpoint struct {
	io     socket
	local  Addr // without a port
	cfg    Config
	secret core.Secret

	wg sync.WaitGroup

	mu     sync.Mutex
	conns  map[core.Tuple]*Conn
	near   map[netip.Prefix]int // how many of them, by the peer's prefix
	ports  map[uint16]*port     // listened on
	stray  *port                // answers for the others
	rests  []*Conn              // in TIMEWAIT, the oldest first
	closed bool
	// wild: the socket serves several of the host's addresses.
	wild bool
	// alone: made for one Conn or Listener, the endpoint ends with the last.
	alone bool
	err   error

	malformed, refused atomic.Uint64
	foreign            atomic.Uint64
	packets, octets    atomic.Uint64
}

// socket is a carrier.
type socket interface {
	transport.DatagramConn
	// Source is the address that packets for a peer leave from.
	Source(peer netip.Addr) (netip.Addr, error)
	// Pressed tells that the receive buffer fills.
	Pressed() bool
	Stats() carrier.Stats
}

// EndpointStats are an endpoint's counts.
type EndpointStats struct {
	PacketsReceived, BytesReceived uint64
	Malformed                      uint64                   // no DCCP packet
	Checksum                       uint64                   // not as it was sent (native only)
	SocketDrops                    uint64                   // by the kernel, for want of room
	Foreign                        uint64                   // native: for ports that are not ours
	Unreachable                    uint64                   // hints that a peer cannot be reached
	SendRefused                    uint64                   // packets that the system did not take
	Conns                          int                      // alive, or in TIMEWAIT
	Listeners                      map[uint16]ListenerStats // by DCCP port
	Stray                          ListenerStats            // other packets
}

// NewEndpoint opens a socket for many peers at a local address. With UDP, its
// port is addr.UDP, and 0 would stand for IP protocol 33: UDPAny for a port of
// the system's choice. addr.Port means nothing here.
func NewEndpoint(addr Addr, cfg Config) (*Endpoint, error) {
	if addr.UDP == 0 {
		return listenRaw(addr.IP, cfg, false)
	}
	return listenUDP(netip.AddrPortFrom(addr.IP, addr.UDP), cfg, false)
}

// NewUDPEndpoint is NewEndpoint with UDP on a port of the system's choice.
func NewUDPEndpoint(ip netip.Addr, cfg Config) (*Endpoint, error) {
	return listenUDP(netip.AddrPortFrom(ip, 0), cfg, false)
}

func listenUDP(at netip.AddrPort, cfg Config, alone bool) (*Endpoint, error) {
	c, err := carrier.ListenUDP(at, cfg.socket())
	if err != nil {
		return nil, err
	}
	return newEndpoint(c, Addr{IP: c.LocalAddr().Addr(), UDP: c.LocalAddr().Port()}, cfg, alone)
}

// newEndpoint takes the carrier over. Its goroutine is ended by Close.
func newEndpoint(c socket, local Addr, cfg Config, alone bool) (*Endpoint, error) {
	e := &Endpoint{
		io: c, local: local, cfg: cfg, alone: alone,
		conns: make(map[core.Tuple]*Conn), near: make(map[netip.Prefix]int), ports: make(map[uint16]*port),
		wild: !local.IP.IsValid() || local.IP.IsUnspecified(),
	}
	random(e.secret[:])
	var err error
	if e.stray, err = newPort(e, 0, nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	e.wg.Go(e.read)
	return e, nil
}

func (e *Endpoint) find(key core.Tuple) *Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conns[key]
}

// listening is who answers for a DCCP port. Natively, ports that nobody here
// listens on may be those of others on this host, who see the same packets:
// nobody answers for them.
func (e *Endpoint) listening(n uint16) *port {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.ports[n]; p != nil {
		return p
	}
	if e.local.UDP == 0 {
		return nil
	}
	return e.stray
}

// unknown takes a packet that belongs to no connection.
func (e *Endpoint) unknown(now time.Time, key core.Tuple, d *transport.Datagram, packet *wire.Packet) {
	if p := e.listening(key.LocalPort); p != nil {
		p.handle(now, key, d, packet)
		return
	}
	e.foreign.Add(1)
}

// source is the address that packets for a peer leave from, where there is a
// choice.
func (e *Endpoint) source(peer netip.Addr) (netip.Addr, error) {
	if !e.wild {
		return e.local.IP, nil
	}
	return e.io.Source(peer)
}

// add makes a connection known, unless its place is taken.
func (e *Endpoint) add(c *Conn) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	if e.conns[c.key] != nil {
		return errPortInUse
	}
	e.conns[c.key] = c
	e.near[prefix(c.peer.Addr())]++
	return nil
}

// prefix is what is counted as one source: a /24 of IPv4, a /56 of IPv6.
func prefix(a netip.Addr) netip.Prefix {
	bits := 56
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 24
	}
	p, _ := a.Prefix(bits)
	return p
}

// living is how many connections live, in all and from an address's prefix.
func (e *Endpoint) living(a netip.Addr) (all, near int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns) - len(e.rests), e.near[prefix(a)]
}

var errPortInUse = errors.New("dccp port in use")

// forget drops a connection that has ended.
func (e *Endpoint) forget(c *Conn) {
	e.mu.Lock()
	if e.conns[c.key] == c {
		delete(e.conns, c.key)
		if i := slices.Index(e.rests, c); i >= 0 {
			e.rests = slices.Delete(e.rests, i, i+1)
		} else {
			e.depart(c)
		}
	}
	e.mu.Unlock()
	e.leave()
}

// leaving reports whether the endpoint ends with its last connection.
func (e *Endpoint) leaving() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alone && len(e.ports) == 0
}

// all are the connections there are.
func (e *Endpoint) all() []*Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.conns))
}

// leave ends an endpoint that was made for what has gone now.
func (e *Endpoint) leave() {
	e.mu.Lock()
	last := e.alone && !e.closed && len(e.conns) == 0 && len(e.ports) == 0
	if last {
		e.closed = true
	}
	e.mu.Unlock()
	if last {
		_ = e.io.Close()
	}
}

// fail ends everything after the socket has failed, or was closed.
func (e *Endpoint) fail(err error) {
	e.mu.Lock()
	e.closed = true
	if e.err == nil {
		e.err = err
	}
	conns := slices.Collect(maps.Values(e.conns))
	ports := e.ports
	e.ports = make(map[uint16]*port)
	e.mu.Unlock()
	_ = e.io.Close()
	for _, p := range ports {
		p.fail(err)
	}
	for _, c := range conns {
		c.mu.Lock()
		if !c.retired {
			c.end(err)
			c.retire()
		}
		c.mu.Unlock()
	}
}

// Close resets every connection and closes the socket.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	conns := slices.Collect(maps.Values(e.conns))
	e.closed = true
	e.mu.Unlock()
	for _, c := range conns {
		_ = c.Abort()
	}
	err := e.io.Close()
	e.wg.Wait()
	return err
}

// LocalAddr is the socket's address; its DCCP port is 0.
func (e *Endpoint) LocalAddr() Addr { return e.local }

// FreePort is a DCCP port that nobody listens on.
func (e *Endpoint) FreePort() uint16 {
	for {
		n := clientPort()
		e.mu.Lock()
		taken := e.ports[n] != nil
		e.mu.Unlock()
		if !taken {
			return n
		}
	}
}

// Stats are the counts so far.
func (e *Endpoint) Stats() EndpointStats {
	s := EndpointStats{
		PacketsReceived: e.packets.Load(), BytesReceived: e.octets.Load(), Malformed: e.malformed.Load(),
		SendRefused: e.refused.Load(), Foreign: e.foreign.Load(), SocketDrops: e.io.SocketDrops(), Unreachable: e.io.Unreachable(),
	}
	k := e.io.Stats()
	s.Checksum, s.Malformed = k.Checksum, s.Malformed+k.Short
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Conns = len(e.conns)
	s.Listeners = make(map[uint16]ListenerStats, len(e.ports))
	for n, p := range e.ports {
		s.Listeners[n] = p.stats()
	}
	s.Stray = e.stray.stats()
	return s
}
