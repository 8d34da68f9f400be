package dtls

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// errReplaced is why a session ends when its peer has made a new one from the
// same address.
var errReplaced = errors.New("replaced by a new session from the same address")

// hello takes a datagram that begins with a ClientHello. Nothing is kept until
// the client has returned the cookie that was sent to its address, so a forged
// address costs one small answer.
func (l *listener) hello(ctx context.Context, p *peer, d *transport.Datagram, now time.Time) {
	_, rec, _, ok := record.Next(d.Data, 0)
	if !ok {
		l.drops.add(dropMalformed)
		return
	}
	f, h, ok := clientHello(rec)
	if !ok || l.closing {
		// A hello in fragments cannot be answered without state.
		l.drops.add(dropHello)
		return
	}
	if p != nil && p.pending != nil && [32]byte(h.random) == p.pending.random && len(h.cookie) > 0 {
		p.pending.shim.push(d.Data) // repeated: our flight was lost
		return
	}
	l.cookies.turn(now)
	valid := l.cookies.valid(d.Peer, h)
	switch {
	case !valid && f.seq != 0, valid && f.seq != 1:
		// Not the first or second message of a handshake.
		l.drops.add(dropHello)
		return
	case !valid:
		l.out = l.cookies.appendVerifyRequest(l.out[:0], rec, f, d.Peer, h)
		_, _ = l.conn.WriteBatch([]transport.Datagram{{Peer: d.Peer, Local: d.Local, Data: l.out}})
		return
	case p != nil && p.session != nil && [32]byte(h.random) == p.session.random:
		l.drops.add(dropHello) // delayed in the network: that handshake is over
		return
	}
	if l.single && !l.mayBegin(now) {
		return
	}
	if p != nil && p.pending != nil {
		// The client began anew while its handshake was under way.
		p.pending.cancel(errSuperseded)
		l.release(p)
	}
	if !l.admit(p, d.Peer) {
		l.stats.HandshakesLimited++
		l.drops.add(dropLimited)
		l.forgetNew(p)
		return
	}
	l.begin(ctx, l.peer(d.Peer), d, rec, f, h)
}

// betweenHandshakes is the least time from one handshake on a connection to the
// next.
const betweenHandshakes = time.Second

// mayBegin says whether a connection's peer may begin a handshake. One session
// is all that a connection carries; until there is one, a peer that begins and
// abandons handshakes, each of which takes a signature, does so once a second
// at most (RFC 5238, Section 3.4, SHOULD).
func (l *listener) mayBegin(now time.Time) bool {
	switch {
	case l.count > 0:
		l.drops.add(dropHello)
		return false
	case !l.begun.IsZero() && now.Sub(l.begun) < betweenHandshakes:
		l.stats.HandshakesLimited++
		l.drops.add(dropLimited)
		return false
	}
	l.begun = now
	return true
}

func (l *listener) forgetNew(p *peer) {
	if p != nil {
		l.forget(p)
	}
}

// admit counts a new handshake against the limits.
func (l *listener) admit(p *peer, addr netip.AddrPort) bool {
	within := func(n, limit int) bool { return limit < 0 || n < limit }
	network := network(addr.Addr())
	switch {
	case l.closing,
		!within(l.half, l.cfg.MaxHalfOpen),
		!within(l.prefix[network], l.cfg.MaxHalfOpenPerPrefix),
		(p == nil || p.session == nil) && !within(l.count+l.half, l.cfg.MaxSessions):
		return false
	}
	l.half++
	l.prefix[network]++
	return true
}

// release takes a pending handshake back.
func (l *listener) release(p *peer) {
	p.pending = nil
	l.half--
	network := network(p.addr.Addr())
	if l.prefix[network]--; l.prefix[network] <= 0 {
		delete(l.prefix, network)
	}
}

// network is the source network that shares a limit.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// begin starts a handshake with a client whose cookie is good.
func (l *listener) begin(ctx context.Context, p *peer, d *transport.Datagram, rec []byte, f fragment, h hello) {
	remote, local := d.Peer, d.Local
	sh := newShim(false, l.conn.LocalAddr(), remote, &l.drops, func(ctx context.Context, b []byte) error {
		return transmit(ctx, l.conn, transport.Datagram{Peer: remote, Local: local, Data: b})
	})
	// The record number of the first ServerHello is the ClientHello's (RFC 6347,
	// Section 4.2.1, MUST): that of a HelloVerifyRequest before it was as well,
	// and a client takes no number twice.
	sh.fit = fitter{limit: func() int { return l.conn.MaxDatagram(remote) }, own: true, next: binary.BigEndian.Uint64(rec[3:])}
	ctx, cancel := context.WithCancelCause(ctx)
	n := &pending{shim: sh, random: [32]byte(h.random), local: local, cancel: cancel}
	p.pending = n
	l.stats.HandshakesStarted++
	sh.push(withoutCookie(rec, f, h))
	sh.push(d.Data)
	drv := &driver{
		cfg: l.cfg, creds: l.cfg.Credentials.Current(), cache: l.cache, mtu: l.conn.MaxDatagram(remote),
		cookie: append([]byte(nil), h.cookie...),
	}
	l.wg.Go(func() { // ended by HandshakeTimeout or cancel
		defer cancel(nil)
		t, err := drv.run(ctx, sh)
		l.finish(p, n, t, err)
	})
}

// finish installs a new association, or drops a failed handshake. Only now
// does an old association from the same address give way.
func (l *listener) finish(p *peer, n *pending, t *taken, err error) {
	if err != nil {
		l.failed(p, n, err)
		return
	}
	who := transport.Peer{
		Identity: t.identity, Remote: p.addr, Local: l.localAddr(n.local), Scheme: l.cfg.Scheme,
		Resumed: t.resumed, Session: newSessionNumber(),
	}
	props := transport.Properties{Secure: true, Streams: 1}
	if l.cfg.Heartbeat == HeartbeatOn && t.heartbeat != 0 {
		props.Confirms = transport.ConfirmProcess
	}
	s := &inbound{
		association: newAssociation(l.conn, p.addr, n.local, t, l.cfg),
		random:      t.random, id: t.sessionID, heard: time.Now(),
	}
	s.admission = admission{identity: t.identity, chain: t.chain, at: s.heard, by: t.creds}
	if len(t.cid) == cidLen {
		s.cid = t.cid
	}
	receiver, err := l.handler.Open(who, props)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || receiver == nil {
		l.stats.SessionsRefused++
		s.close(alertFatal, alertAccessDenied)
		l.logRefusal(p.addr, "session refused", err)
		if p.pending == n {
			l.release(p)
			l.forget(p)
		}
		return
	}
	s.receiver = receiver
	l.count++
	l.stats.SessionsOpened++
	if t.resumed {
		l.stats.SessionsResumed++
	}
	switch {
	case l.closing:
		l.end(s, transport.ErrClosed)
		return
	case p.pending != n:
		l.end(s, errSuperseded)
		return
	}
	// The credentials may have changed while the handshake was under way.
	if now := l.cfg.Credentials.Current(); now != t.creds {
		if err := s.stands(now); err != nil {
			l.release(p)
			l.end(s, notLetIn(err))
			l.forget(p)
			return
		}
		s.by = now
	}
	l.release(p)
	if old := p.session; old != nil {
		p.session = nil
		l.end(old, errReplaced)
	}
	p.session = s
	if s.cid != nil {
		l.byCID[[cidLen]byte(s.cid)] = s
	}
	l.cfg.Log.Debug("session established", "session", who.Session, "exporter", who.Identity,
		"remote", p.addr, "suite", t.suite, "resumed", t.resumed, "heartbeat", t.heartbeat == heartbeat.PeerAllowed)
	for _, b := range n.shim.leftovers() {
		l.deliver(s, &transport.Datagram{Peer: p.addr, Local: n.local, Data: b}, s.heard, false)
	}
}

func (l *listener) failed(p *peer, n *pending, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.pending == n {
		l.release(p)
		l.forget(p)
	}
	l.stats.HandshakesFailed++
	if !errors.Is(err, context.Canceled) && !errors.Is(err, transport.ErrClosed) {
		l.logRefusal(p.addr, "handshake refused", err)
	}
}

func (l *listener) logRefusal(remote netip.AddrPort, what string, err error) {
	if ok, unlogged := l.sampler.Take(time.Now()); ok {
		l.cfg.Log.Warn(what, "remote", remote, "error", err, "unlogged", unlogged)
	}
}

// localAddr is the address of ours that a peer uses.
func (l *listener) localAddr(local netip.Addr) netip.AddrPort {
	a := l.conn.LocalAddr()
	if local.IsValid() {
		return netip.AddrPortFrom(local, a.Port())
	}
	return a
}
