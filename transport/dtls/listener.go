package dtls

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

const (
	// listenBatch is how many datagrams a Listener takes at once.
	listenBatch = 64
	// housekeeping is how often idle sessions are looked for.
	housekeeping = 30 * time.Second
	// refusalsPerSecond and refusalBurst sample the log of refused handshakes.
	refusalsPerSecond = 1
	refusalBurst      = 20
)

// listener is the collector's demultiplexer. Everything under mu is touched by
// the reading goroutine, and by a handshake when it ends: Receivers are called
// with mu held, one call at a time over the whole listener.
type listener struct {
	conn  transport.DatagramConn
	cfg   Config
	cache *sessionCache
	drops dropCounters

	probesAnswered atomic.Uint64
	staying        atomic.Int64 // at the end: sessions without a farewell yet

	mu      sync.Mutex
	handler transport.Handler
	wg      sync.WaitGroup
	peers   map[netip.AddrPort]*peer
	byCID   map[[cidLen]byte]*inbound
	last    *peer // of the datagram before
	count   int   // established
	half    int   // half-open
	prefix  map[netip.Prefix]int
	cookies cookies
	out     []byte
	stats   transport.ListenerStats
	sampler transport.Sampler
	closing bool

	// single: the carrier is one peer's connection, which carries one session.
	single bool
	begun  time.Time // then: the last handshake
}

// peer is an address: its association, its handshake in progress, or both.
type peer struct {
	addr    netip.AddrPort
	session *inbound
	pending *pending
}

// pending is a handshake in progress, beside whatever association its address
// has (RFC 6347, Section 4.2.8).
type pending struct {
	shim   *shim
	random [32]byte // the client's
	local  netip.Addr
	cancel context.CancelCauseFunc
}

// NewListener serves DTLS sessions on a carrier, which it owns from then on.
func NewListener(conn transport.DatagramConn, cfg Config) transport.Listener {
	cfg = cfg.WithDefaults()
	if cfg.Sessions == nil {
		cfg.Sessions = NewSessions(cfg.MaxStored, cfg.SessionTTL)
	}
	return &listener{
		conn: conn, cfg: cfg, cache: cfg.Sessions.cache,
		peers: map[netip.AddrPort]*peer{}, byCID: map[[cidLen]byte]*inbound{}, prefix: map[netip.Prefix]int{},
		sampler: transport.Sampler{Rate: refusalsPerSecond, Burst: refusalBurst},
	}
}

// Addr implements transport.Listener.
func (l *listener) Addr() netip.AddrPort { return l.conn.LocalAddr() }

// Close implements transport.Listener.
func (l *listener) Close() error { return l.conn.Close() }

// Stats implements transport.Listener.
func (l *listener) Stats() transport.ListenerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.SocketDrops = l.conn.SocketDrops()
	s.ProbesAnswered = l.probesAnswered.Load()
	s.Dropped = l.drops.reasons()
	return s
}

// Serve implements transport.Listener.
func (l *listener) Serve(ctx context.Context, h transport.Handler) error {
	if err := l.cfg.Validate(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l.mu.Lock()
	l.handler = h
	l.mu.Unlock()
	l.wg.Go(func() { l.housekeep(ctx) }) // both ended by stop
	l.wg.Go(func() { l.followCredentials(ctx) })

	batch := make([]transport.Datagram, listenBatch)
	var err error
	for {
		var n int
		n, err = l.conn.ReadBatch(ctx, batch)
		if n > 0 {
			l.receive(ctx, batch[:n], time.Now())
		}
		if err != nil {
			break
		}
	}
	stopped := ctx.Err() != nil
	if stopped {
		l.part(context.WithoutCancel(ctx), batch)
	}
	l.shutdown()
	stop()
	l.wg.Wait()
	closeErr := l.conn.Close()
	if stopped {
		return closeErr
	}
	return fmt.Errorf("dtls listener on %v: %w", l.Addr(), err)
}

// sessions are the established ones, by address and by CID alone.
func (l *listener) sessions() []*inbound {
	all := make([]*inbound, 0, l.count)
	for _, p := range l.peers {
		if p.session != nil {
			all = append(all, p.session)
		}
	}
	for _, s := range l.byCID {
		if p := l.peers[s.remote]; p == nil || p.session != s {
			all = append(all, s)
		}
	}
	return all
}

// housekeep ends what has been idle too long and renews the cookie key.
func (l *listener) housekeep(ctx context.Context) {
	every := housekeeping
	if l.cfg.IdleTimeout > 0 {
		every = min(every, max(l.cfg.IdleTimeout/4, 10*time.Millisecond))
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		l.mu.Lock()
		l.cookies.turn(now)
		if l.cfg.IdleTimeout > 0 {
			for _, s := range l.sessions() {
				if now.Sub(s.heard) > l.cfg.IdleTimeout {
					l.end(s, fmt.Errorf("no authentic record for %v", l.cfg.IdleTimeout))
				}
			}
		}
		l.mu.Unlock()
	}
}

// receive takes a batch of datagrams.
func (l *listener) receive(ctx context.Context, batch []transport.Datagram, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		l.stats.DatagramsReceived++
		l.stats.BytesReceived += uint64(len(batch[i].Data))
		l.dispatch(ctx, &batch[i], now)
	}
}

// dispatch finds whom a datagram is for: by Connection ID, else by address.
func (l *listener) dispatch(ctx context.Context, d *transport.Datagram, now time.Time) {
	b := d.Data
	if len(b) < record.HeaderLen {
		l.drops.add(dropMalformed)
		return
	}
	if record.Type(b[0]) == record.ConnectionID && len(b) >= 11+cidLen {
		if s := l.byCID[[cidLen]byte(b[11:])]; s != nil {
			l.deliver(s, d, now, false)
			return
		}
	}
	p := l.last
	if p == nil || p.addr != d.Peer {
		p = l.peers[d.Peer]
		l.last = p
	}
	plaintext := b[3] == 0 && b[4] == 0
	if plaintext && record.Type(b[0]) == record.Handshake && len(b) > record.HeaderLen && b[record.HeaderLen] == typeClientHello {
		l.hello(ctx, p, d, now)
		return
	}
	switch {
	case p == nil:
		l.drops.add(dropStale)
	case p.pending == nil:
		l.deliver(p.session, d, now, false)
	default:
		p.pending.shim.push(b)
		// Records may belong to the association that lives on: both get them.
		if p.session != nil && !plaintext {
			l.deliver(p.session, d, now, true)
		}
	}
}

// deliver hands a datagram's records to a session. In a shared datagram what
// does not open is not counted: it is the pending handshake's.
func (l *listener) deliver(s *inbound, d *transport.Datagram, now time.Time, shared bool) {
	if s == nil {
		l.drops.add(dropStale)
		return
	}
	for b := d.Data; len(b) > 0; {
		h, rec, rest, ok := record.Next(b, s.opener.CIDLen())
		if !ok {
			l.drops.add(dropMalformed)
			return
		}
		b = rest
		if h.Epoch == 0 && h.Type == record.Handshake && s.repeatFlight(now) {
			continue
		}
		t, content, why, ok := s.open(h, rec)
		if !ok {
			if !shared || why == dropReplayed {
				l.drops.add(why)
			}
			continue
		}
		s.heard = now
		if s.cid != nil && d.Peer != s.remote && s.opener.Newest() {
			l.move(s, d)
		}
		if !l.record(s, t, content, now) {
			return
		}
	}
}

// move follows a peer to its new address: only a record under a Connection ID
// that is authentic and the newest may do that (RFC 9146, Section 6).
func (l *listener) move(s *inbound, d *transport.Datagram) {
	if p := l.peers[s.remote]; p != nil && p.session == s {
		p.session = nil
		l.forget(p)
	}
	s.moved(d.Peer, d.Local)
	p := l.peer(d.Peer)
	if p.session == nil {
		p.session = s
	}
}

// peer finds or makes the entry of an address.
func (l *listener) peer(addr netip.AddrPort) *peer {
	p := l.peers[addr]
	if p == nil {
		p = &peer{addr: addr}
		l.peers[addr] = p
	}
	return p
}

// forget removes an entry that holds nothing.
func (l *listener) forget(p *peer) {
	if p.session == nil && p.pending == nil {
		delete(l.peers, p.addr)
		if l.last == p {
			l.last = nil
		}
	}
}
