package dtls

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"ipfixsuite/transport"
)

// Connections are a carrier that knows connections of its own, each of which
// moves the datagrams of one peer: DCCP (RFC 5238).
type Connections interface {
	// Accept waits for the next connection, until ctx ends. Its datagrams name
	// the peer.
	Accept(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error)
	Addr() netip.AddrPort
	Close() error
}

// connections serves each connection by a listener of its own, so that all
// that holds for datagrams holds for them. Serve's goroutine accepts; each
// connection has the goroutines of a listener, which end with it.
type connections struct {
	src Connections
	cfg Config
	wg  sync.WaitGroup

	mu     sync.Mutex
	living map[*connection]struct{}
	half   int
	prefix map[netip.Prefix]int    // half-open
	past   transport.ListenerStats // of connections that are over
	full   uint64
}

// connection is one, from its beginning to its end.
type connection struct {
	*listener
	handler transport.Handler
	cancel  context.CancelFunc
	timer   *time.Timer // until there is a session
	prefix  netip.Prefix
	half    bool // under connections.mu
}

// NewConnectionListener serves DTLS sessions on connections, one on each. The
// session's end ends the connection, and the other way round. It owns src from
// then on.
func NewConnectionListener(src Connections, cfg Config) transport.Listener {
	cfg = cfg.WithDefaults()
	if cfg.Sessions == nil {
		cfg.Sessions = NewSessions(cfg.MaxStored, cfg.SessionTTL)
	}
	cfg.ConnectionID = false // a connection does not change its peer
	return &connections{src: src, cfg: cfg, living: map[*connection]struct{}{}, prefix: map[netip.Prefix]int{}}
}

// Addr implements transport.Listener.
func (c *connections) Addr() netip.AddrPort { return c.src.Addr() }

// Close implements transport.Listener.
func (c *connections) Close() error { return c.src.Close() }

// Serve implements transport.Listener.
func (c *connections) Serve(ctx context.Context, h transport.Handler) error {
	if err := c.cfg.Validate(); err != nil {
		return errors.Join(err, c.src.Close())
	}
	var err error
	for {
		var conn transport.DatagramConn
		var peer netip.AddrPort
		if conn, peer, err = c.src.Accept(ctx); err != nil {
			break
		}
		if !c.begin(ctx, conn, peer, h) {
			sendAway(conn)
		}
	}
	c.wg.Wait() // ended with ctx, or here
	closeErr := c.src.Close()
	if ctx.Err() != nil {
		return closeErr
	}
	return fmt.Errorf("dtls listener on %v: %w", c.Addr(), err)
}

// sendAway ends a connection that is not served. Whoever floods us with them need
// not answer a closing in order, which others behind it would wait for.
func sendAway(conn transport.DatagramConn) {
	if a, ok := conn.(interface{ Abort() error }); ok {
		_ = a.Abort()
		return
	}
	_ = conn.Close()
}

// begin serves a connection if the limits permit.
func (c *connections) begin(ctx context.Context, conn transport.DatagramConn, peer netip.AddrPort, h transport.Handler) bool {
	k := &connection{listener: NewListener(conn, c.cfg).(*listener), handler: h, prefix: network(peer.Addr()), half: true}
	k.single = true
	c.mu.Lock()
	defer c.mu.Unlock()
	within := func(n, limit int) bool { return limit < 0 || n < limit }
	if !within(len(c.living), c.cfg.MaxSessions) || !within(c.half, c.cfg.MaxHalfOpen) || !within(c.prefix[k.prefix], c.cfg.MaxHalfOpenPerPrefix) {
		c.full++
		return false
	}
	c.living[k] = struct{}{}
	c.half++
	c.prefix[k.prefix]++
	ctx, k.cancel = context.WithCancel(ctx)
	if c.cfg.HandshakeTimeout > 0 {
		k.timer = time.AfterFunc(c.cfg.HandshakeTimeout, k.cancel)
	}
	c.wg.Go(func() { // ended by the connection, its session, or ctx
		defer k.cancel()
		if err := k.Serve(ctx, opener{c, k}); err != nil {
			c.cfg.Log.Debug("connection ended", "remote", peer, "error", err)
		}
		c.over(k)
	})
	return true
}

// settled takes back that a connection has no session yet; the caller has mu.
func (c *connections) settled(k *connection) {
	if !k.half {
		return
	}
	k.half = false
	c.half--
	if c.prefix[k.prefix]--; c.prefix[k.prefix] <= 0 {
		delete(c.prefix, k.prefix)
	}
}

func (c *connections) over(k *connection) {
	stats := k.Stats()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled(k)
	delete(c.living, k)
	addStats(&c.past, &stats)
}

// Stats implements transport.Listener.
func (c *connections) Stats() transport.ListenerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.past
	s.Dropped = maps.Clone(c.past.Dropped)
	for k := range c.living {
		one := k.Stats()
		addStats(&s, &one)
	}
	s.HandshakesLimited += c.full
	return s
}

func addStats(sum, s *transport.ListenerStats) {
	sum.DatagramsReceived += s.DatagramsReceived
	sum.BytesReceived += s.BytesReceived
	sum.SocketDrops += s.SocketDrops
	sum.SessionsOpened += s.SessionsOpened
	sum.SessionsClosed += s.SessionsClosed
	sum.SessionsResumed += s.SessionsResumed
	sum.SessionsRefused += s.SessionsRefused
	sum.HandshakesStarted += s.HandshakesStarted
	sum.HandshakesFailed += s.HandshakesFailed
	sum.HandshakesLimited += s.HandshakesLimited
	sum.ProbesReceived += s.ProbesReceived
	sum.ProbesAnswered += s.ProbesAnswered
	if sum.Dropped == nil {
		sum.Dropped = map[string]uint64{}
	}
	for reason, n := range s.Dropped {
		sum.Dropped[reason] += n
	}
}

// opener is the Handler of one connection.
type opener struct {
	c *connections
	k *connection
}

// Open implements transport.Handler.
func (o opener) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	r, err := o.k.handler.Open(p, props)
	if err != nil || r == nil {
		o.k.cancel()
		return r, err
	}
	if o.k.timer != nil {
		o.k.timer.Stop()
	}
	o.c.mu.Lock()
	o.c.settled(o.k)
	o.c.mu.Unlock()
	return closer{r, o.k.cancel}, nil
}

// closer ends the connection with its session.
type closer struct {
	transport.Receiver
	end context.CancelFunc
}

// Closed implements transport.Receiver.
func (c closer) Closed(reason error) {
	c.Receiver.Closed(reason)
	c.end()
}
