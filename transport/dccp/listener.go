package dccp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
)

// ListenerStats are what became of packets that belong to no connection.
type ListenerStats = core.ListenerStats

// ListenConfig sets up a Listener. The zero value works.
type ListenConfig struct {
	// Config is that of the connections.
	Config
	// Backlog bounds the connections that nobody has accepted yet. Zero: 128.
	// More are refused (Reset "Too Busy").
	Backlog int
	// MaxHalfOpen and MaxHalfOpenPerSource bound unfinished handshakes, in all
	// and from one address; beyond, nothing is remembered until a client has
	// returned an Init Cookie (RFC 4340, Section 8.1.4). Zero: 256 and 16. Of
	// several Listeners on one DCCP port the first decides.
	MaxHalfOpen          int
	MaxHalfOpenPerSource int
	// MaxConns and MaxConnsPerPrefix bound the connections that live, in all
	// and from one /24 of IPv4 or /56 of IPv6. Zero: 65536 and 4096. More are
	// refused (Reset "Too Busy").
	MaxConns          int
	MaxConnsPerPrefix int
}

func (c *ListenConfig) limits() (all, perPrefix int) {
	all, perPrefix = c.MaxConns, c.MaxConnsPerPrefix
	if all <= 0 {
		all = defaultMaxConns
	}
	if perPrefix <= 0 {
		perPrefix = defaultMaxConnsPerPrefix
	}
	return all, perPrefix
}

// Listener accepts the connections for some service codes on one DCCP port. It
// implements net.Listener.
type Listener struct {
	e        *Endpoint
	port     *port
	services []ServiceCode
	cfg      ListenConfig
	accepted chan *Conn
	deadline deadline
	done     chan struct{} // closed
	once     sync.Once
	err      error // set before done is closed
}

// Listen accepts connections for the service codes at an address, over a socket
// of its own; port 0 is one of the system's choice. at.UDP 0 stands for IP
// protocol 33, which needs CAP_NET_RAW.
func Listen(at Addr, services []ServiceCode, cfg ListenConfig) (*Listener, error) {
	l, err := listen(at, services, cfg)
	if err != nil {
		return nil, fmt.Errorf("listen on %s %v: %w", at.Network(), at, err)
	}
	return l, nil
}

func listen(at Addr, services []ServiceCode, cfg ListenConfig) (*Listener, error) {
	var e *Endpoint
	var err error
	if at.Port == 0 {
		at.Port = clientPort()
	}
	if at.UDP != 0 {
		e, err = listenUDP(netip.AddrPortFrom(at.IP, at.UDP), cfg.Config, true)
	} else {
		cfg.Socket.Port = at.Port
		e, err = listenRaw(at.IP, cfg.Config, true)
	}
	if err != nil {
		return nil, err
	}
	l, err := e.Listen(at.Port, services, cfg)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return l, nil
}

func listenRaw(ip netip.Addr, cfg Config, alone bool) (*Endpoint, error) {
	c, err := carrier.ListenRaw(ip, cfg.socket())
	if err != nil {
		return nil, err
	}
	return newEndpoint(c, Addr{IP: c.LocalAddr().Addr()}, cfg, alone)
}

// Listen accepts connections for the service codes on a DCCP port. Several
// Listeners may share a port if their service codes differ.
func (e *Endpoint) Listen(n uint16, services []ServiceCode, cfg ListenConfig) (*Listener, error) {
	if len(services) == 0 || slices.Contains(services, wire.InvalidServiceCode) {
		return nil, errors.New("dccp: a listener needs service codes")
	}
	backlog := cfg.Backlog
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	l := &Listener{
		e: e, services: slices.Clone(services), cfg: cfg,
		accepted: make(chan *Conn, backlog), done: make(chan struct{}),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, net.ErrClosed
	}
	p := e.ports[n]
	if p == nil {
		var err error
		if p, err = newPort(e, n, l); err != nil {
			return nil, err
		}
	}
	if err := p.add(l); err != nil {
		return nil, err
	}
	l.port = p
	e.ports[n] = p
	return l, nil
}

// AcceptConn waits for the next connection.
func (l *Listener) AcceptConn() (*Conn, error) { return l.accept(context.Background()) }

func (l *Listener) accept(ctx context.Context) (*Conn, error) {
	select {
	case <-l.done:
		return nil, l.err
	default:
	}
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.done:
		return nil, l.err
	case <-l.deadline.wait():
		return nil, os.ErrDeadlineExceeded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener; it returns a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// SetDeadline ends waits for connections then.
func (l *Listener) SetDeadline(t time.Time) error {
	l.deadline.set(t)
	return nil
}

// Addr implements net.Listener; it is an Addr.
func (l *Listener) Addr() net.Addr {
	a := l.e.local
	a.Port = l.port.n
	return a
}

// Endpoint is the socket, with all that runs over it.
func (l *Listener) Endpoint() *Endpoint { return l.e }

// Close accepts no more connections and resets those that wait to be accepted;
// the others go on.
func (l *Listener) Close() error {
	l.port.remove(l)
	l.end(net.ErrClosed)
	if l.e.leaving() {
		l.e.quit()
	}
	l.e.leave()
	return nil
}

func (l *Listener) end(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.done)
		for {
			select {
			case c := <-l.accepted:
				_ = c.Abort()
			default:
				return
			}
		}
	})
}

// offer queues a connection that has opened; c.mu is held.
func (l *Listener) offer(c *Conn) {
	select {
	case <-l.done:
	case l.accepted <- c:
		return
	default:
	}
	// Requests are refused before it comes to that, but for those under way.
	c.m.Abort(time.Now(), wire.ResetTooBusy)
}

// port is what listens on a DCCP port: the machine and those who take the
// connections. The port of stray packets has no Listeners.
type port struct {
	e *Endpoint
	n uint16

	mu        sync.Mutex
	m         *core.Listener
	configs   map[ServiceCode]core.Config // the machine's own
	listeners []*Listener
	reply     []byte
}

// newPort makes one for a first Listener; without, it is that of strays.
func newPort(e *Endpoint, n uint16, first *Listener) (*port, error) {
	p := &port{e: e, n: n, configs: make(map[ServiceCode]core.Config)}
	k := core.ListenerConfig{Rand: rand.Reader, Configs: p.configs}
	if first != nil {
		k.MaxHalfOpen, k.MaxPerSource = first.cfg.MaxHalfOpen, first.cfg.MaxHalfOpenPerSource
	}
	var err error
	p.m, err = core.NewListener(k)
	return p, err
}

// serve tells the machine what is served; p.mu is held.
func (p *port) serve() error {
	var all []ServiceCode
	for _, l := range p.listeners {
		all = append(all, l.services...)
	}
	return p.m.SetServices(all)
}

func (p *port) add(l *Listener) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, err := l.cfg.core(0)
	if err != nil {
		return err
	}
	for _, s := range l.services {
		if p.serving(s) != nil {
			return fmt.Errorf("service code %v on dccp port %d: %w", s, p.n, errInUse)
		}
	}
	for _, s := range l.services {
		p.configs[s] = k
	}
	p.listeners = append(p.listeners, l)
	return p.serve()
}

var errInUse = errors.New("in use")

func (p *port) remove(l *Listener) {
	p.e.mu.Lock()
	defer p.e.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.listeners, l)
	if i < 0 {
		return
	}
	p.listeners = slices.Delete(p.listeners, i, i+1)
	for _, s := range l.services {
		delete(p.configs, s)
	}
	_ = p.serve() // fewer than it has agreed to
	if len(p.listeners) == 0 && p.e.ports[p.n] == p {
		delete(p.e.ports, p.n)
	}
}

// serving is the Listener for a service; p.mu is held.
func (p *port) serving(s ServiceCode) *Listener {
	for _, l := range p.listeners {
		if slices.Contains(l.services, s) {
			return l
		}
	}
	return nil
}

// handle takes a packet that belongs to no connection.
func (p *port) handle(now time.Time, key core.Tuple, d *transport.Datagram, packet *wire.Packet) {
	all, near := p.e.living(key.Remote.Addr())
	p.mu.Lock()
	p.m.SetBusy(p.busy(packet.Service, all, near))
	var m *core.Conn
	p.reply, m = p.m.HandlePacket(now, key, packet, p.reply[:0])
	var l *Listener
	if m != nil {
		l = p.serving(m.Ports().Service)
	}
	if len(p.reply) > 0 {
		out := [1]transport.Datagram{{Peer: d.Peer, Local: d.Local, Data: p.reply}}
		if _, err := p.e.io.WriteBatch(out[:]); err != nil {
			p.e.refused.Add(1)
		}
	}
	p.mu.Unlock()
	if m == nil {
		return
	}
	if l == nil { // closed in this moment
		p.settled(key)
		return
	}
	p.adopt(now, key, l, m)
}

// adopt drives a connection that a Request has made.
func (p *port) adopt(now time.Time, key core.Tuple, l *Listener, m *core.Conn) {
	c := newConn(p.e, key, m.Ports().Service, &l.cfg.Config)
	c.port, c.accept = p, l
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := p.e.add(c); err != nil {
		p.settled(key)
		return
	}
	c.start(now, m)
	c.askMTU(now)
	c.events()
	c.drive(now)
}

// busy tells whether the one who serves s has connections enough, with all
// that live and those near the one who asks; p.mu is held.
func (p *port) busy(s ServiceCode, all, near int) bool {
	l := p.serving(s)
	if l == nil {
		return false
	}
	most, mostNear := l.cfg.limits()
	return len(l.accepted) == cap(l.accepted) || all >= most || near >= mostNear
}

func (p *port) settled(key core.Tuple) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.Settled(key)
}

func (p *port) stats() ListenerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m.Stats()
}

// fail ends the Listeners with the socket.
func (p *port) fail(err error) {
	p.mu.Lock()
	ls := slices.Clone(p.listeners)
	p.mu.Unlock()
	for _, l := range ls {
		l.end(err)
	}
}
