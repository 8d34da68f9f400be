package tcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
)

const (
	// drainMost is how long, at the end, peers may take to finish what they
	// were sending.
	drainMost = 2 * time.Second
	// acceptPause is how long no connection is taken when there are no
	// descriptors left.
	acceptPause = 100 * time.Millisecond
	// Refused connections are logged no faster than this.
	refusalsPerSecond, refusalBurst = 1, 20
)

// listener takes connections; each has a goroutine.
type listener struct {
	ln     *net.TCPListener
	cfg    Config
	server server
	wg     sync.WaitGroup

	mu       sync.Mutex // of what follows
	sessions map[*inbound]struct{}
	count    limits // connections
	half     limits // those of them whose handshake is not over
	sampler  transport.Sampler
	closing  bool
	past     map[string]uint64 // what Upgrades dropped that are over

	messages, octets         atomic.Uint64
	opened, closed, resumed  atomic.Uint64
	refused, started, failed atomic.Uint64
	limited                  atomic.Uint64
	full, prefixFull         atomic.Uint64
	unsynchronised, stalled  atomic.Uint64
	unwanted                 atomic.Uint64
}

// limits count connections, in all and by source network.
type limits struct {
	all      int
	byPrefix map[netip.Prefix]int
}

func (l *limits) add(p netip.Prefix, n int) {
	l.all += n
	if l.byPrefix[p] += n; l.byPrefix[p] <= 0 {
		delete(l.byPrefix, p)
	}
}

// Listen binds an address. Port 0 lets the system choose.
func Listen(addr netip.AddrPort, cfg Config) (transport.Listener, error) {
	cfg = cfg.withDefaults()
	if cfg.Credentials != nil {
		if _, err := certified(&cfg); err != nil {
			return nil, err
		}
	}
	network := "tcp"
	if addr.Addr().Is4() {
		network = "tcp4" // or 0.0.0.0 would take IPv6 as well
	}
	lc := net.ListenConfig{KeepAlive: -1} // tune sets its own
	ln, err := lc.Listen(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	tl, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listening on a %T", ln), ln.Close())
	}
	return &listener{
		ln: tl, cfg: cfg, sessions: map[*inbound]struct{}{}, past: map[string]uint64{},
		count: limits{byPrefix: map[netip.Prefix]int{}}, half: limits{byPrefix: map[netip.Prefix]int{}},
		sampler: transport.Sampler{Rate: refusalsPerSecond, Burst: refusalBurst},
	}, nil
}

// Addr implements transport.Listener.
func (l *listener) Addr() netip.AddrPort { return addrPort(l.ln.Addr()) }

// Close implements transport.Listener.
func (l *listener) Close() error { return l.ln.Close() }

// Serve implements transport.Listener.
func (l *listener) Serve(ctx context.Context, h transport.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	over := context.AfterFunc(ctx, func() { _ = l.ln.Close() }) // wakes Accept
	defer over()
	if l.cfg.Credentials != nil {
		l.wg.Go(func() { l.followCredentials(ctx) }) // ended by stop
	}
	var err error
	for {
		var c *net.TCPConn
		c, err = l.ln.AcceptTCP()
		if err == nil {
			l.take(ctx, c, h)
			continue
		}
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() && !exhausted(err) || ctx.Err() != nil {
			break
		}
		l.cfg.Log.Warn("no connection can be taken", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
	stopped := ctx.Err() != nil
	stop()
	l.part()
	l.wg.Wait()
	if stopped {
		return nil
	}
	return errors.Join(fmt.Errorf("%s listener on %v: %w", l.cfg.Scheme, l.Addr(), err), l.ln.Close())
}

// take starts to serve a connection, if the limits permit.
func (l *listener) take(ctx context.Context, c *net.TCPConn, h transport.Handler) {
	s := &inbound{l: l, prefix: transport.SourcePrefix(addrPort(c.RemoteAddr()).Addr())}
	if !l.admit(s) {
		_ = c.SetLinger(0) // refused: nothing of it is to linger
		_ = c.Close()
		return
	}
	l.wg.Go(func() { // ended by the connection's end, by part, and by the bounds on time
		defer func() {
			_ = c.Close()
			l.release(s)
		}()
		s.serve(ctx, c, h)
	})
}

func (l *listener) admit(s *inbound) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	within := func(n, bound int) bool { return bound < 0 || n < bound }
	switch {
	case l.closing:
		return false
	case !within(l.count.all, l.cfg.MaxSessions):
		l.full.Add(1)
		l.refused.Add(1)
		return false
	case !within(l.count.byPrefix[s.prefix], l.cfg.MaxSessionsPerPrefix):
		l.prefixFull.Add(1)
		l.refused.Add(1)
		return false
	}
	if l.cfg.Credentials != nil {
		if !within(l.half.all, l.cfg.MaxHalfOpen) || !within(l.half.byPrefix[s.prefix], l.cfg.MaxHalfOpenPerPrefix) {
			l.limited.Add(1)
			return false
		}
		l.half.add(s.prefix, 1)
		s.half = true
	}
	l.count.add(s.prefix, 1)
	l.sessions[s] = struct{}{}
	return true
}

// shaken notes that a handshake is over.
func (l *listener) shaken(s *inbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.half {
		s.half = false
		l.half.add(s.prefix, -1)
	}
}

func (l *listener) release(s *inbound) {
	l.shaken(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.add(s.prefix, -1)
	delete(l.sessions, s)
	s.counts(l.past)
}

// part tells every peer that the end has come. What they were sending is still
// read, for a while.
func (l *listener) part() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
	deadline := time.Now().Add(drainMost)
	for s := range l.sessions {
		l.wg.Go(func() { s.part(deadline) }) // ends by the deadline
	}
}

// refuse counts and logs a connection that gets no session.
func (l *listener) refuse(who net.Addr, err error) {
	l.mu.Lock()
	ok, unlogged := l.sampler.Take(time.Now())
	l.mu.Unlock()
	if ok {
		l.cfg.Log.Warn("connection refused", "remote", who.String(), "error", err, "unlogged", unlogged)
	}
}

// Stats implements transport.Listener. A message counts where others count a
// datagram.
func (l *listener) Stats() transport.ListenerStats {
	l.mu.Lock()
	dropped := maps.Clone(l.past)
	for s := range l.sessions {
		s.counts(dropped)
	}
	l.mu.Unlock()
	maps.Copy(dropped, map[string]uint64{
		"session-limit": l.full.Load(), "prefix-limit": l.prefixFull.Load(), "refused": l.unwanted.Load(),
		"out-of-sync": l.unsynchronised.Load(), "stalled": l.stalled.Load(),
	})
	return transport.ListenerStats{
		DatagramsReceived: l.messages.Load(), BytesReceived: l.octets.Load(),
		SessionsOpened: l.opened.Load(), SessionsClosed: l.closed.Load(), SessionsResumed: l.resumed.Load(),
		SessionsRefused: l.refused.Load(), HandshakesStarted: l.started.Load(), HandshakesFailed: l.failed.Load(),
		HandshakesLimited: l.limited.Load(),
		Dropped:           dropped,
	}
}
