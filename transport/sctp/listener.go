package sctp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
)

const (
	// housekeeping is how often idle sessions are looked for.
	housekeeping = 15 * time.Second
	// askMost is how long, when the listener ends, a peer has to ask for the
	// confirmation of what it sent: ours does once a second.
	askMost = 1500 * time.Millisecond
)

var errIdle = errors.New("idle")

// listener is the collector's end. Serve's goroutine accepts; each association
// has a goroutine that receives, and one more while its handshake is under way
// and when it ends in order; one looks for idle ones. All end before Serve
// returns.
type listener struct {
	acceptor Acceptor
	cfg      SessionConfig
	drops    dropCounters

	handler transport.Handler
	wg      sync.WaitGroup

	mu       sync.Mutex
	closing  bool
	sessions map[*inbound]struct{}
	all      int // associations, those with a handshake under way included
	prefixes map[netip.Prefix]int
	half     int // handshakes under way
	halfOf   map[netip.Prefix]int

	messages, bytes         atomic.Uint64
	probes, answered        atomic.Uint64
	opened, closed, refused atomic.Uint64
	started, failed, over   atomic.Uint64 // handshakes
	warned                  atomic.Int64  // second of the last warning
	unlogged                atomic.Int64
}

// NewListener serves sessions on an endpoint, which it owns from then on. With
// DTLS its associations must demand SCTP-AUTH (Config.Auth).
func NewListener(a Acceptor, cfg SessionConfig) transport.Listener {
	if cfg.DTLS != nil {
		d := cfg.DTLS.WithDefaults()
		cfg.DTLS = &d
	}
	return &listener{
		acceptor: a, cfg: cfg.withDefaults(),
		sessions: map[*inbound]struct{}{}, prefixes: map[netip.Prefix]int{}, halfOf: map[netip.Prefix]int{},
	}
}

// Addr implements transport.Listener.
func (l *listener) Addr() netip.AddrPort { return l.acceptor.Addr() }

// Close implements transport.Listener.
func (l *listener) Close() error { return l.acceptor.Close() }

// Stats implements transport.Listener. Datagrams are messages here.
func (l *listener) Stats() transport.ListenerStats {
	a := l.acceptor.Stats()
	s := transport.ListenerStats{
		DatagramsReceived: l.messages.Load(), BytesReceived: l.bytes.Load(), SocketDrops: a.SocketDrops,
		SessionsOpened: l.opened.Load(), SessionsClosed: l.closed.Load(), SessionsRefused: l.refused.Load() + a.Refused,
		HandshakesStarted: l.started.Load(), HandshakesFailed: l.failed.Load(), HandshakesLimited: l.over.Load() + a.Limited,
		ProbesReceived: l.probes.Load(), ProbesAnswered: l.answered.Load(),
		Dropped: maps.Clone(a.Dropped),
	}
	if s.Dropped == nil {
		s.Dropped = map[string]uint64{}
	}
	l.drops.into(s.Dropped)
	return s
}

// Serve implements transport.Listener. Whatever becomes of an association, the
// next one is awaited (RFC 7011, Section 10.2.4, MUST).
func (l *listener) Serve(ctx context.Context, h transport.Handler) error {
	if err := l.cfg.Validate(); err != nil {
		return errors.Join(err, l.acceptor.Close())
	}
	l.handler = h
	handshakes, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	tending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	l.wg.Go(func() { l.housekeep(tending) }) // ended by stop
	if l.cfg.DTLS != nil {
		l.wg.Go(func() { l.followCredentials(tending) }) // ended by stop
	}
	var err error
	for {
		var a Association
		if a, err = l.acceptor.Accept(ctx); err != nil {
			break
		}
		l.accept(handshakes, a)
	}
	l.part(cancel)
	stop()
	l.wg.Wait()
	closeErr := l.acceptor.Close()
	if ctx.Err() != nil {
		return closeErr
	}
	return fmt.Errorf("%s listener on %v: %w", l.cfg.Scheme, l.Addr(), err)
}

// accept admits an association and begins its session.
func (l *listener) accept(handshakes context.Context, a Association) {
	prefix := sourceNetwork(a.RemoteAddr().Addr())
	if reason, ok := l.admit(prefix); !ok {
		l.drops.add(reason)
		if reason == dropHalfOpen {
			l.over.Add(1)
		} else {
			l.refused.Add(1)
		}
		a.Abort("too many")
		return
	}
	if l.cfg.DTLS != nil {
		l.secure(handshakes, a, prefix)
		return
	}
	p := new(pump)
	if s := l.open(&carrier{assoc: a}, p, prefix, plainPeer(a, l.cfg.Scheme), nil); s != nil {
		p.start(a, s)
	}
}

// secure makes the handshake beside.
func (l *listener) secure(ctx context.Context, a Association, prefix netip.Prefix) {
	l.started.Add(1)
	l.wg.Go(func() { // ended by the handshake's timeout, or by part
		remote := a.RemoteAddr()
		h, e, err := secure(ctx, a, l.cfg.DTLS, false)
		l.mu.Lock()
		l.halfOver(prefix)
		if err != nil {
			l.release(prefix)
		}
		l.mu.Unlock()
		if err != nil {
			l.failed.Add(1)
			if errors.Is(err, errNoAuth) {
				l.drops.add(dropNoAuth)
			}
			if !errors.Is(err, transport.ErrClosed) {
				l.warn("handshake refused", remote, err)
			}
			return
		}
		s := l.open(h.c, h.pump, prefix, securePeer(a, l.cfg.Scheme, e), e)
		if s == nil {
			h.handOver(nobody{})
			h.pump.wg.Wait()
			return
		}
		h.handOver(s)
		// The credentials may have changed while the handshake was under way.
		l.recheck(s)
	})
}

// recheck asks the current credentials about a session.
func (l *listener) recheck(s *inbound) {
	now := l.cfg.DTLS.Credentials.Current()
	if now == nil || s.let == nil {
		return
	}
	if err := s.let.Stands(now); err != nil {
		s.part(fmt.Errorf("not let in any more: %w", err))
	}
}

// followCredentials asks new credentials about the sessions there are, each
// time that they change, until ctx ends.
func (l *listener) followCredentials(ctx context.Context) {
	for {
		changed := l.cfg.DTLS.Credentials.Changed()
		if changed == nil {
			return // never
		}
		for _, s := range l.living() {
			l.recheck(s)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// warn logs, at most once a second.
func (l *listener) warn(what string, remote netip.AddrPort, err error) {
	now, last := time.Now().Unix(), l.warned.Load()
	if now == last || !l.warned.CompareAndSwap(last, now) {
		l.unlogged.Add(1)
		return
	}
	l.cfg.Log.Warn(what, "remote", remote, "error", err, "unlogged", l.unlogged.Swap(0))
}

// admit counts a new association against the limits.
func (l *listener) admit(prefix netip.Prefix) (reason drop, ok bool) {
	within := func(n, limit int) bool { return limit < 0 || n < limit }
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing || !within(l.all, l.cfg.MaxSessions):
		return dropSessions, false
	case !within(l.prefixes[prefix], l.cfg.MaxSessionsPerPrefix):
		return dropPrefix, false
	case l.cfg.DTLS != nil && (!within(l.half, l.cfg.DTLS.MaxHalfOpen) || !within(l.halfOf[prefix], l.cfg.DTLS.MaxHalfOpenPerPrefix)):
		return dropHalfOpen, false
	}
	l.all++
	l.prefixes[prefix]++
	if l.cfg.DTLS != nil {
		l.half++
		l.halfOf[prefix]++
	}
	return 0, true
}

// release takes back what admit counted.
func (l *listener) release(prefix netip.Prefix) {
	l.all--
	if l.prefixes[prefix]--; l.prefixes[prefix] <= 0 {
		delete(l.prefixes, prefix)
	}
}

// halfOver takes back that a handshake is under way.
func (l *listener) halfOver(prefix netip.Prefix) {
	l.half--
	if l.halfOf[prefix]--; l.halfOf[prefix] <= 0 {
		delete(l.halfOf, prefix)
	}
}

// open asks the handler; nil: the association was refused, and is gone.
func (l *listener) open(c *carrier, p *pump, prefix netip.Prefix, who transport.Peer, let *dtls.Established) *inbound {
	_, in := c.assoc.Streams()
	props := transport.Properties{Secure: c.tls != nil, Reliable: true, Ordered: true, Streams: in, Confirms: transport.ConfirmTransport}
	if c.tls.confirms() {
		props.Confirms = transport.ConfirmProcess
	}
	receiver, err := l.handler.Open(who, props)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && receiver != nil && !l.closing {
		s := &inbound{
			carrier: carrier{assoc: c.assoc, tls: c.tls, count: c.count},
			l:       l, prefix: prefix, who: who, receiver: receiver, pump: p, let: let,
		}
		s.begin()
		s.heard.Store(time.Now().UnixNano())
		l.sessions[s] = struct{}{}
		l.opened.Add(1)
		l.wg.Go(func() { <-s.done; p.wg.Wait() }) // ended by the association
		l.cfg.Log.Debug("session established", "session", who.Session, "exporter", who.Identity, "remote", who.Remote, "streams", in)
		return s
	}
	if receiver != nil {
		receiver.Closed(transport.ErrClosed)
	}
	l.release(prefix)
	l.refused.Add(1)
	if err != nil {
		l.warn("session refused", who.Remote, err)
	}
	c.assoc.Abort("refused")
	return nil
}

// forget drops a session that has ended.
func (l *listener) forget(s *inbound) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, s)
	l.release(s.prefix)
	l.closed.Add(1)
}

// housekeep ends what has been silent too long.
func (l *listener) housekeep(ctx context.Context) {
	if l.cfg.IdleTimeout < 0 {
		return
	}
	tick := time.NewTicker(min(housekeeping, max(l.cfg.IdleTimeout/4, 10*time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, s := range l.living() {
				if now.UnixNano()-s.heard.Load() > int64(l.cfg.IdleTimeout) {
					s.part(errIdle)
				}
			}
		}
	}
}

func (l *listener) living() []*inbound {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*inbound, 0, len(l.sessions))
	for s := range l.sessions {
		all = append(all, s)
	}
	return all
}

// part ends the sessions in order, each right behind the answer to its peer's
// next request, so that hardly anything of what it sent is unconfirmed, and
// would be sent again to who follows.
func (l *listener) part(cancel context.CancelCauseFunc) {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	cancel(transport.ErrClosed)
	ask, stop := context.WithTimeout(context.Background(), askMost)
	defer stop()
	for _, s := range l.living() {
		l.wg.Go(func() { // ended by askMost
			select {
			case <-s.whenQuiet():
			case <-s.done:
			case <-ask.Done():
			}
			s.part(transport.ErrClosed)
		})
	}
	for _, s := range l.living() {
		<-s.done
	}
}

// sourceNetwork is the source network that shares a limit.
func sourceNetwork(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
