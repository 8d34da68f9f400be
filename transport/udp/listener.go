package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
)

const (
	// receiveBatch is how many datagrams a listener handles between two looks
	// at the clock: the longest run of the kernel, several times.
	receiveBatch = 256
	// housekeeping is how often idle sessions are looked for.
	housekeeping = 15 * time.Second
	// probation ends a session whose handler refused it, and, when the table
	// fills, one that sent a single datagram: what a flood of forged
	// addresses leaves behind.
	probation = time.Minute
	// drainPause is how long the socket must be silent for the end, drainMost
	// how long that is waited for.
	drainPause = 10 * time.Millisecond
	drainMost  = 2 * time.Second
)

// errIdle tells a Receiver that its peer sent nothing for too long.
var errIdle = errors.New("idle")

// NewListener serves plain UDP on c, which it owns from then on. Whoever sends
// is a session of its own (RFC 7011, Section 10.3: known by addresses and
// ports); one that says nothing for long is forgotten.
func NewListener(c transport.DatagramConn, cfg Config) transport.Listener {
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = DefaultIdleTimeout
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = DefaultMaxSessions
	}
	if cfg.MaxSessionsPerPrefix <= 0 {
		cfg.MaxSessionsPerPrefix = DefaultMaxSessionsPerPrefix
	}
	return &listener{conn: c, cfg: cfg, sessions: map[key]*inbound{}, prefixes: map[netip.Prefix]int{}}
}

// listener's tables belong to the goroutine in Serve; the counters to all.
type listener struct {
	conn     transport.DatagramConn
	cfg      Config
	handler  transport.Handler
	sessions map[key]*inbound
	prefixes map[netip.Prefix]int
	last     *inbound // of the datagram before

	datagrams, bytes          atomic.Uint64
	opened, closed, refused   atomic.Uint64
	full, prefixFull          atomic.Uint64
	unwanted, empty, nameless atomic.Uint64
}

// key is a Transport Session's: our port is the same for all.
type key struct {
	remote netip.AddrPort
	local  netip.Addr
}

// inbound is one session.
type inbound struct {
	key
	prefix   netip.Prefix
	receiver transport.Receiver // nil: refused
	heard    time.Time
	once     bool // one datagram so far
}

// Serve implements transport.Listener.
func (l *listener) Serve(ctx context.Context, h transport.Handler) error {
	l.handler = h
	batch := make([]transport.Datagram, receiveBatch)
	var err error
	for err == nil {
		err = l.round(ctx, batch)
	}
	stopped := ctx.Err() != nil
	if stopped {
		l.drain(ctx, batch)
		err = nil
	} else {
		err = fmt.Errorf("udp listener on %v: %w", l.Addr(), err)
	}
	for _, s := range l.sessions {
		l.drop(s, transport.ErrClosed)
	}
	return errors.Join(err, l.conn.Close())
}

// round receives until it is time for housekeeping; the wait is bounded by a
// context that serves the whole round.
func (l *listener) round(ctx context.Context, batch []transport.Datagram) error {
	roundCtx, cancel := context.WithTimeout(ctx, housekeeping)
	defer cancel()
	for {
		n, err := l.conn.ReadBatch(roundCtx, batch)
		if n > 0 {
			l.receive(batch[:n], time.Now())
		}
		if err != nil {
			l.expire(time.Now())
			if roundCtx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
}

// drain takes what the kernel has already received when the end comes.
func (l *listener) drain(ctx context.Context, batch []transport.Datagram) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMost)
	defer cancel()
	for {
		pause, cancel := context.WithTimeout(ctx, drainPause)
		n, err := l.conn.ReadBatch(pause, batch)
		cancel()
		if n > 0 {
			l.receive(batch[:n], time.Now())
		}
		if err != nil {
			return
		}
	}
}

// receive hands a batch to the receivers.
func (l *listener) receive(batch []transport.Datagram, now time.Time) {
	size := 0
	for i := range batch {
		d := &batch[i]
		size += len(d.Data)
		if len(d.Data) == 0 {
			l.empty.Add(1) // not worth a session
			continue
		}
		s := l.last
		if s == nil || s.remote != d.Peer || s.local != d.Local {
			if s = l.session(d, now); s == nil {
				continue
			}
			l.last = s
		} else {
			s.once = false
		}
		if s.receiver == nil {
			l.unwanted.Add(1)
			continue
		}
		s.heard = now
		s.receiver.Message(transport.Incoming{Data: d.Data, Received: now})
	}
	l.datagrams.Add(uint64(len(batch)))
	l.bytes.Add(uint64(size))
}

// session finds or opens the session of a datagram; nil if it gets none.
func (l *listener) session(d *transport.Datagram, now time.Time) *inbound {
	k := key{d.Peer, d.Local}
	if s := l.sessions[k]; s != nil {
		s.once = false
		return s
	}
	if !d.Peer.IsValid() || d.Peer.Port() == 0 {
		l.nameless.Add(1)
		return nil
	}
	prefix := sourcePrefix(d.Peer.Addr())
	switch {
	case len(l.sessions) >= l.cfg.MaxSessions:
		l.full.Add(1)
		l.refused.Add(1)
		return nil
	case l.prefixes[prefix] >= l.cfg.MaxSessionsPerPrefix:
		l.prefixFull.Add(1)
		l.refused.Add(1)
		return nil
	}
	s := &inbound{key: k, prefix: prefix, heard: now, once: true}
	local := l.conn.LocalAddr()
	if d.Local.IsValid() {
		local = netip.AddrPortFrom(d.Local, local.Port())
	}
	r, err := l.handler.Open(transport.Peer{
		Identity: d.Peer.Addr().String(), Remote: d.Peer, Local: local, Scheme: scheme, Session: transport.NewSessionNumber(),
	}, properties)
	if err == nil && r != nil {
		s.receiver = r
		l.opened.Add(1)
	} else {
		// Remembered, so that the handler is not asked for each datagram.
		l.refused.Add(1)
		l.cfg.log().Debug("session refused", "exporter", d.Peer, "error", err)
	}
	l.sessions[k] = s
	l.prefixes[prefix]++
	return s
}

// sourcePrefix is whom a limit holds for: /24 of IPv4, /56 of IPv6.
func sourcePrefix(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// expire ends sessions that have been silent.
func (l *listener) expire(now time.Time) {
	crowded := len(l.sessions) > l.cfg.MaxSessions/4*3
	for _, s := range l.sessions {
		silent := now.Sub(s.heard)
		if l.cfg.IdleTimeout > 0 && silent >= l.cfg.IdleTimeout ||
			silent >= probation && (s.receiver == nil || s.once && (crowded || l.prefixes[s.prefix] > l.cfg.MaxSessionsPerPrefix/4*3)) {
			l.drop(s, errIdle)
		}
	}
}

func (l *listener) drop(s *inbound, reason error) {
	if l.last == s {
		l.last = nil
	}
	delete(l.sessions, s.key)
	if l.prefixes[s.prefix]--; l.prefixes[s.prefix] <= 0 {
		delete(l.prefixes, s.prefix)
	}
	if s.receiver != nil {
		s.receiver.Closed(reason)
		l.closed.Add(1)
	}
}

// Addr implements transport.Listener.
func (l *listener) Addr() netip.AddrPort { return l.conn.LocalAddr() }

// Close implements transport.Listener.
func (l *listener) Close() error { return l.conn.Close() }

// Stats implements transport.Listener.
func (l *listener) Stats() transport.ListenerStats {
	return transport.ListenerStats{
		DatagramsReceived: l.datagrams.Load(), BytesReceived: l.bytes.Load(), SocketDrops: l.conn.SocketDrops(),
		SessionsOpened: l.opened.Load(), SessionsClosed: l.closed.Load(), SessionsRefused: l.refused.Load(),
		Dropped: map[string]uint64{
			"session-limit": l.full.Load(), "prefix-limit": l.prefixFull.Load(),
			"refused": l.unwanted.Load(), "empty": l.empty.Load(), "no-source": l.nameless.Load(),
		},
	}
}
