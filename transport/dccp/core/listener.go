package core

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// ListenerConfig is what a Listener is told.
type ListenerConfig struct {
	// Config is that of the connections it makes.
	Config Config
	// Services are the service codes that are served; Conn.Ports tells which
	// one a client wanted. Without any, every packet is a stray.
	Services []wire.ServiceCode
	// Configs, if it has one for a service, takes Config's place.
	Configs map[wire.ServiceCode]Config
	// Rand is the source of keys; crypto/rand.Reader.
	Rand io.Reader
	// Above MaxHalfOpen unfinished handshakes in all, or MaxPerSource of one
	// address, no more state is made for a Request: the Response carries an
	// Init Cookie. 0: 256 and 16. Linux clients do not return cookies.
	MaxHalfOpen, MaxPerSource int
	// ResetsPerSecond bounds the Resets to strays (RFC 4340, Section 8.1.3,
	// SHOULD), CookiesPerSecond the stateless Responses. 0: 1024 and 4096.
	ResetsPerSecond, CookiesPerSecond int
}

// ListenerStats are a Listener's counts.
type ListenerStats struct {
	Requests       uint64
	HalfOpen       int    // now
	Accepted       uint64 // connections made from Requests
	CookiesSent    uint64
	CookiesTaken   uint64 // connections made from Init Cookies
	CookiesBad     uint64
	CookiesLimited uint64 // Requests not answered
	BadService     uint64
	TooBusy        uint64
	Strays         uint64 // packets without a connection
	ResetsSent     uint64
	ResetsLimited  uint64
	RandFailures   uint64
}

// Listener is the LISTEN state, and what answers for connections that do not
// exist. Its methods are not safe for concurrent use.
type Listener struct {
	cfg      ListenerConfig
	secret   Secret
	sources  map[netip.Addr]int
	halfOpen int
	cookies  cookies
	resets   bucket
	replies  bucket
	stats    ListenerStats
	busy     bool
	scratch  Conn // makes stateless Responses
}

// NewListener checks the configuration and draws a secret.
func NewListener(cfg ListenerConfig) (*Listener, error) {
	if cfg.Rand == nil {
		return nil, errors.New("dccp: a listener needs a source of randomness")
	}
	if len(cfg.Services) > 0 {
		for _, s := range cfg.Services {
			c := cfg.forService(s)
			if err := c.Validate(); err != nil {
				return nil, err
			}
		}
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.MaxHalfOpen, 256)
	def(&cfg.MaxPerSource, 16)
	def(&cfg.ResetsPerSecond, 1024)
	def(&cfg.CookiesPerSecond, 4096)
	l := &Listener{cfg: cfg, sources: make(map[netip.Addr]int), cookies: cookies{rand: cfg.Rand},
		resets: bucket{rate: float64(cfg.ResetsPerSecond)}, replies: bucket{rate: float64(cfg.CookiesPerSecond)}}
	if _, err := io.ReadFull(cfg.Rand, l.secret[:]); err != nil {
		return nil, err
	}
	return l, nil
}

// SetServices replaces the service codes that are served. Each must have a
// valid Config.
func (l *Listener) SetServices(codes []wire.ServiceCode) error {
	for _, s := range codes {
		c := l.cfg.forService(s)
		if err := c.Validate(); err != nil {
			return err
		}
	}
	l.cfg.Services = slices.Clone(codes)
	return nil
}

func (c *ListenerConfig) forService(s wire.ServiceCode) Config {
	if d, ok := c.Configs[s]; ok {
		return d
	}
	return c.Config
}

// SetBusy makes Requests be refused with Too Busy, for instance while nobody
// accepts connections.
func (l *Listener) SetBusy(busy bool) { l.busy = busy }

// Stats returns a snapshot.
func (l *Listener) Stats() ListenerStats {
	s := l.stats
	s.HalfOpen = l.halfOpen
	return s
}

// HandlePacket takes a packet for which there is no connection (Steps 2 and 3
// of RFC 4340, Section 8.5). Either it makes one, which from now on gets the
// packets of t: drive it, and call Settled once it is open or has ended. Or it
// may append a reply to b.
func (l *Listener) HandlePacket(now time.Time, t Tuple, p *wire.Packet, b []byte) ([]byte, *Conn) {
	if p.Type == wire.Request && len(l.cfg.Services) > 0 {
		return l.request(now, t, p, b)
	}
	l.stats.Strays++
	if p.Type.HasAck() && p.Type != wire.Reset && len(l.cfg.Services) > 0 {
		if cookie := initCookie(p); cookie != nil {
			if c := l.bake(now, &t, p, cookie); c != nil {
				return b, c
			}
			l.stats.CookiesBad++
			return l.refuse(now, p, wire.ResetBadInitCookie, b), nil
		}
	}
	return l.refuse(now, p, wire.ResetNoConnection, b), nil
}

func (l *Listener) request(now time.Time, t Tuple, p *wire.Packet, b []byte) ([]byte, *Conn) {
	l.stats.Requests++
	switch {
	case p.Service == wire.InvalidServiceCode || !slices.Contains(l.cfg.Services, p.Service):
		l.stats.BadService++
		return l.refuse(now, p, wire.ResetBadServiceCode, b), nil // Section 8.1.2, MUST
	case l.busy:
		l.stats.TooBusy++
		return l.refuse(now, p, wire.ResetTooBusy, b), nil
	case l.halfOpen >= l.cfg.MaxHalfOpen || l.sources[t.Remote.Addr()] >= l.cfg.MaxPerSource:
		return l.stateless(now, &t, p, b), nil
	}
	l.halfOpen++
	l.sources[t.Remote.Addr()]++
	l.stats.Accepted++
	c := new(Conn)
	c.respond(now, l.cfg.forService(p.Service), p, l.iss(&t, p))
	return b, c
}

// Settled says that a connection that HandlePacket made for t is no longer
// half-open: it has opened, or ended. Call it once for each.
func (l *Listener) Settled(t Tuple) {
	a := t.Remote.Addr()
	n, ok := l.sources[a]
	if !ok {
		return
	}
	l.halfOpen--
	if n > 1 {
		l.sources[a] = n - 1
	} else {
		delete(l.sources, a)
	}
}

// refuse appends a Reset, if the rate allows.
func (l *Listener) refuse(now time.Time, p *wire.Packet, code wire.ResetCode, b []byte) []byte {
	r, ok := StrayReset(p, code)
	if !ok {
		return b
	}
	if !l.resets.allow(now) {
		l.stats.ResetsLimited++
		return b
	}
	l.stats.ResetsSent++
	b, _ = r.AppendBinary(b)
	return b
}

// iss is the initial sequence number for a Request. It follows the client's, which
// keeps away from earlier connections', in a space that nobody can guess (RFC
// 4340, Section 7.2): so the Responses to repeated Requests are numbered as those
// of one connection, also when one was answered without state and the next one,
// as there is room again, with it.
func (l *Listener) iss(t *Tuple, p *wire.Packet) wire.Seq {
	return l.secret.space(t, 1).Add(int64(p.Seq))
}

// stateless answers a Request with a Response that carries all we would have to
// remember.
func (l *Listener) stateless(now time.Time, t *Tuple, p *wire.Packet, b []byte) []byte {
	if len(p.Options) > maxCookieOptions {
		l.stats.TooBusy++
		return l.refuse(now, p, wire.ResetTooBusy, b)
	}
	if !l.replies.allow(now) {
		l.stats.CookiesLimited++
		return b
	}
	iss := l.iss(t, p)
	var memory [wire.MaxOptionData]byte
	cookie, err := l.cookies.seal(now, memory[:0], t, &baked{p.Seq, iss, p.Service, p.Options})
	if err != nil {
		l.stats.RandFailures++
		return b
	}
	c := &l.scratch
	c.respond(now, l.cfg.forService(p.Service), p, iss)
	if !c.due.handshake {
		// Its options are a reason to reset it, and they say so.
		b, _, _ = c.AppendPacket(now, b)
		return b
	}
	c.cookies = wire.AppendOption(c.cookies[:0], wire.OptInitCookie, cookie...)
	b, _, _ = c.appendHandshake(now, b)
	l.stats.CookiesSent++
	return b
}

// initCookie finds the option in a packet of a client.
func initCookie(p *wire.Packet) []byte {
	for r := wire.ReadOptions(p.Options); r.Next(); {
		if r.Option.Type == wire.OptInitCookie {
			return r.Option.Data
		}
	}
	return nil
}

// bake makes the connection that a cookie describes, as if it had been there
// since the Request, and hands it the packet.
func (l *Listener) bake(now time.Time, t *Tuple, p *wire.Packet, cookie []byte) *Conn {
	v, ok := l.cookies.open(now, cookie, t)
	if !ok || p.Short || p.Ack != v.iss || !slices.Contains(l.cfg.Services, v.service) {
		return nil
	}
	request := wire.Packet{SrcPort: p.SrcPort, DstPort: p.DstPort, Type: wire.Request, Seq: v.isr,
		Service: v.service, Options: v.options}
	c := new(Conn)
	c.respond(now, l.cfg.forService(v.service), &request, v.iss)
	if !c.due.handshake {
		return nil
	}
	c.appendHandshake(now, nil) // the Response that was sent
	c.rtt.running = false
	l.halfOpen++
	l.sources[t.Remote.Addr()]++
	l.stats.CookiesTaken++
	c.HandlePacket(now, p)
	return c
}

// respond starts a server's connection with a Request.
func (c *Conn) respond(now time.Time, cfg Config, p *wire.Packet, iss wire.Seq) {
	c.init(now, cfg, Ports{Local: p.DstPort, Remote: p.SrcPort, Service: p.Service}, iss, true)
	c.state = StateRespond
	c.limitAt = now.Add(handshakeLimit)
	c.startReceiving(p.Seq)
	q := *p
	c.HandlePacket(now, &q)
}
