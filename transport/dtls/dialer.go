package dtls

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// readBatch is how many datagrams a session's reader takes at once: answers to
// probes are all that comes.
const readBatch = 4

// A Dialer opens DTLS sessions over a carrier of its own for each. It keeps
// the last session for resumption, so use one Dialer for an endpoint's life. A
// first session may resume one that another Dialer has made with the same
// collector, over whatever transport: Config.Resume.
type Dialer struct {
	// Connect makes the carrier of a new session and names the peer on it.
	Connect func(context.Context) (transport.DatagramConn, netip.AddrPort, error)
	Config  Config
	// Carrier tells what the carrier itself offers; the zero value is UDP.
	Carrier transport.Properties

	once  sync.Once
	cache *sessionCache
	fresh atomic.Bool  // the next session must not resume
	quick atomic.Int64 // ns: what the quickest handshake took; 0: none yet
}

// dialAttempts bounds the handshakes of one Dial, of which all but the last
// were garbled.
const dialAttempts = 3

// minRetransmit is the least first retransmission interval of a handshake.
const minRetransmit = 200 * time.Millisecond

// retransmit is the first retransmission interval of the next handshake: a
// second as long as nothing is known of the path (RFC 6347, Section 4.2.4.1),
// then what the quickest handshake took, of two round trips at least. A
// rotation, and a second opinion of a silent peer, are not to wait a second for
// each datagram that is lost.
func (d *Dialer) retransmit(configured time.Duration) time.Duration {
	quick := time.Duration(d.quick.Load())
	if quick == 0 {
		return configured
	}
	return min(max(quick, minRetransmit), configured)
}

// took notes how long a handshake was.
func (d *Dialer) took(t time.Duration) {
	if quick := d.quick.Load(); quick == 0 || int64(t) < quick {
		d.quick.Store(max(int64(t), 1))
	}
}

// Forget makes the next Dial a full handshake.
func (d *Dialer) Forget() { d.fresh.Store(true) }

// dialing fills in what a client needs.
func (c Config) dialing() (Config, *credentials.Credentials, error) {
	c = c.WithDefaults()
	creds := c.Credentials.Current()
	if name := creds.ServerName(); name != "" {
		c.ServerName = name
	}
	if c.PSKIdentity == "" && !creds.HasCertificate() {
		c.PSKIdentity = creds.PSKIdentity()
	}
	if c.PSKIdentity == "" && c.ServerName == "" {
		return c, nil, errors.New("dtls: no name to check the peer's certificate against")
	}
	return c, creds, nil
}

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	if err := d.Config.Validate(); err != nil {
		return nil, err
	}
	cfg, creds, err := d.Config.dialing()
	if err != nil {
		return nil, err
	}
	d.once.Do(func() { d.cache = newSessionCache(1, cfg.SessionTTL) })
	fresh := d.fresh.CompareAndSwap(true, false)
	if fresh {
		d.cache.clear()
	}
	for attempt := 1; ; attempt++ {
		s, err := d.attempt(ctx, cfg, creds, attempt < dialAttempts, fresh)
		if err == nil {
			return s, nil
		}
		// Somebody talks in the peer's name. From another port, and with
		// another random number, he has to begin anew as well.
		if _, garbled := errors.AsType[*garbledError](err); !garbled || attempt == dialAttempts || ctx.Err() != nil {
			return nil, err
		}
		cfg.Log.Debug("handshake begins anew", "attempt", attempt, "error", err)
	}
}

// silentError is the end of a handshake whose time, or the caller's, was over.
type silentError struct{ error }

func (*silentError) Error() string { return errTimeout.Error() }

func (e *silentError) Unwrap() error { return e.error }

// Hint is what to look at.
func (*silentError) Hint() string {
	return "is a firewall in between, or the port another's? does the collector run, with this very scheme in --listen? its log may say why (handshake refused)"
}

// attempt makes one handshake, on a carrier of its own.
func (d *Dialer) attempt(ctx context.Context, cfg Config, creds *credentials.Credentials, again, fresh bool) (*session, error) {
	conn, peer, err := d.Connect(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Retransmit = d.retransmit(cfg.Retransmit)
	began := time.Now()
	s, err := d.handshake(ctx, cfg, creds, conn, peer, again, fresh)
	if err == context.DeadlineExceeded || err == errTimeout { //nolint:errorlint // nothing more is known
		err = &silentError{err}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("dtls handshake with %v: %w", peer, err), conn.Close())
	}
	d.took(time.Since(began))
	return s, nil
}

// places are where the sessions of a collector at an address are kept.
func (d *Dialer) places(cfg Config, peer netip.Addr) []place {
	list := []place{{cache: d.cache}}
	if cfg.Resume != nil {
		list = append(list, place{cfg.Resume.cache, cfg.collector(d.Config.ServerName, peer)})
	}
	return list
}

func (d *Dialer) handshake(ctx context.Context, cfg Config, creds *credentials.Credentials, conn transport.DatagramConn, peer netip.AddrPort, again, fresh bool) (*session, error) {
	drops := new(dropCounters)
	sh := newShim(true, conn.LocalAddr(), peer, drops, func(ctx context.Context, b []byte) error {
		return transmit(ctx, conn, transport.Datagram{Peer: peer, Data: b})
	})
	sh.fit.limit = func() int { return conn.MaxDatagram(peer) }
	readCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &reader{conn: conn, peer: peer, drops: drops, shim: sh, ended: make(chan struct{})}
	go r.run(readCtx) // ended by stop, or by the carrier
	places := d.places(cfg, peer.Addr())
	if fresh { // what others have made is not resumed either, but replaced
		for _, p := range places[1:] {
			p.cache.forget(p.key)
		}
	}
	drv := &driver{cfg: cfg, creds: creds, client: true, again: again, places: places, mtu: conn.MaxDatagram(peer)}
	hctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() { // ended by fail
		select {
		case <-r.ended:
			fail(r.err)
		case <-hctx.Done():
		}
	}()
	t, err := drv.run(hctx, sh)
	if err != nil {
		stop()
		<-r.ended
		return nil, err
	}
	s := &session{
		association: newAssociation(conn, peer, netip.Addr{}, t, cfg),
		cfg:         cfg, base: d.Carrier, kept: places, id: t.sessionID,
		who: transport.Peer{
			Identity: t.identity, Remote: peer, Local: conn.LocalAddr(), Scheme: cfg.Scheme,
			Resumed: t.resumed, Session: newSessionNumber(),
		},
		probing: make(chan struct{}, 1), timer: newTimer(cfg, d.Carrier), done: make(chan struct{}),
		stop: stop, reader: r.ended, drops: drops,
	}
	s.probing <- struct{}{}
	r.establish(s, time.Now())
	return s, nil
}

// newTimer spaces a session's heartbeat requests.
func newTimer(cfg Config, carrier transport.Properties) *heartbeat.Timer {
	cfg.Probe.Reliable = carrier.Reliable
	return heartbeat.NewTimer(cfg.Probe, mathrand.Float64)
}

// reader reads a session's carrier: for the shim until the handshake is over,
// then for the session.
type reader struct {
	conn  transport.DatagramConn
	peer  netip.AddrPort
	drops *dropCounters
	ended chan struct{}
	err   error // why, once ended

	mu   sync.Mutex
	shim *shim
	s    *session
}

func (r *reader) run(ctx context.Context) {
	defer close(r.ended)
	batch := make([]transport.Datagram, readBatch)
	for {
		n, err := r.conn.ReadBatch(ctx, batch)
		if n > 0 {
			now := time.Now()
			r.mu.Lock()
			for _, d := range batch[:n] {
				r.take(d, now)
			}
			r.mu.Unlock()
		}
		if err != nil {
			r.err = err
			break
		}
	}
	r.mu.Lock()
	s := r.s
	r.mu.Unlock()
	if s != nil {
		s.end(r.err)
		_ = r.conn.Close()
	}
}

func (r *reader) take(d transport.Datagram, now time.Time) {
	switch {
	case d.Peer.IsValid() && d.Peer != r.peer:
		r.drops.add(dropForeign)
	case r.s != nil:
		r.s.receive(d.Data, now)
	default:
		r.shim.push(d.Data)
	}
}

// establish turns to the session, beginning with what came early.
func (r *reader) establish(s *session, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s = s
	for _, b := range r.shim.leftovers() {
		s.receive(b, now)
	}
	r.shim = nil
	select {
	case <-r.ended: // the carrier failed meanwhile
		s.end(r.err)
		_ = r.conn.Close()
	default:
	}
}

// newSessionNumber is unique without anybody keeping count, and small enough
// for a JSON number.
func newSessionNumber() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])>>11 | 1
}
