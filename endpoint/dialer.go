package endpoint

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux"
	"ipfixsuite/transport/udp"
)

// Dialer makes a dialer for an endpoint. A name is resolved anew for each
// session, and its addresses are tried in turn, each a little after the one
// before: that of the last success first, then IPv6 and IPv4 by turns (RFC
// 8305). It has a method Moved(ctx, remote), which tells when a session's
// address is no longer one of the name's, and Due(every), which tells when to ask.
func Dialer(e transport.Endpoint, cfg Config) (transport.Dialer, error) {
	if err := cfg.check(e); err != nil {
		return nil, err
	}
	if addr, ok := e.AddrPort(); e.Host == "" || ok && addr.Addr().IsUnspecified() {
		return nil, &Error{e, "no host to send to", "write " + e.Scheme + "://HOST:PORT"}
	}
	if e.Port == 0 {
		return nil, &Error{e, "port 0 cannot be sent to", "leave it out for the assigned port"}
	}
	if e.Secure() {
		if c := cfg.Credentials.Current(); !c.HasCertificate() && c.PSKIdentity() == "" {
			return nil, &Error{e, "there are several pre-shared keys, and none is chosen", "name one: --psk-identity NAME"}
		}
	}
	return &dialer{endpoint: e, cfg: cfg, byAddr: map[netip.AddrPort]transport.Dialer{}}, nil
}

// dialer tries the addresses of a name.
type dialer struct {
	endpoint transport.Endpoint
	cfg      Config

	mu sync.Mutex
	// byAddr keeps a dialer for each address: it holds the session that can
	// be resumed there.
	byAddr map[netip.AddrPort]transport.Dialer
	last   netip.AddrPort // that of the last success
	// asked is when the name was looked at, ttl how long what was said then holds;
	// 0: it was not said.
	asked time.Time
	ttl   time.Duration
}

// Dial implements transport.Dialer.
func (d *dialer) Dial(ctx context.Context) (transport.Session, error) {
	addrs, err := d.resolve(ctx)
	if err != nil {
		return nil, err
	}
	addrs, dialers, known := d.prepare(addrs)
	delay := func(i int) time.Duration {
		if i == 0 && known {
			return knownDelay
		}
		return attemptDelay
	}
	s, i, errs := race(ctx, len(addrs), delay, func(ctx context.Context, i int) (transport.Session, error) {
		return dialers[i].Dial(ctx)
	})
	if s == nil {
		return nil, fmt.Errorf("%v: %w", d.endpoint, join(errs))
	}
	d.mu.Lock()
	d.last = addrs[i]
	d.mu.Unlock()
	return s, nil
}

// Moved resolves the name again and reports whether remote, which this dialer
// dialled last, is no longer among its addresses.
func (d *dialer) Moved(ctx context.Context, remote netip.AddrPort) (bool, error) {
	d.mu.Lock()
	mine := d.last == remote
	d.mu.Unlock()
	if _, literal := d.endpoint.AddrPort(); literal || !mine {
		return false, nil
	}
	addrs, err := d.resolve(ctx)
	if err != nil {
		return false, err
	}
	return !slices.Contains(addrs, remote), nil
}

// Due reports whether it is time to look at the name again: because its lifetime
// (TTL) is over, or it was not looked at for so long.
func (d *dialer) Due(every time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ttl > 0 {
		every = min(every, d.ttl)
	}
	return time.Since(d.asked) >= every
}

func (d *dialer) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	addrs, ttl, err := d.cfg.resolve(ctx, d.endpoint)
	d.note(ttl)
	return addrs, err
}

func (d *dialer) note(ttl time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked, d.ttl = time.Now(), ttl
}

// Forget makes the next sessions full handshakes, where the transport would
// resume an earlier one.
func (d *dialer) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.byAddr {
		if f, ok := a.(interface{ Forget() }); ok {
			f.Forget()
		}
	}
}

// prepare orders the addresses and finds their dialers; those of addresses
// that the name no longer has are forgotten. known: the first is that of the
// last success.
func (d *dialer) prepare(addrs []netip.AddrPort) (ordered []netip.AddrPort, dialers []transport.Dialer, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.endpoint.Loopback() { // its order is that of resolve
		addrs = interleave(addrs)
	}
	at := slices.Index(addrs, d.last)
	if at > 0 {
		addrs = append([]netip.AddrPort{d.last}, slices.Delete(addrs, at, at+1)...)
	}
	before := d.byAddr
	d.byAddr = make(map[netip.AddrPort]transport.Dialer, len(addrs))
	dialers = make([]transport.Dialer, len(addrs))
	for i, addr := range addrs {
		if dialers[i] = before[addr]; dialers[i] == nil {
			dialers[i] = d.to(addr)
		}
		d.byAddr[addr] = dialers[i]
	}
	return addrs, dialers, at >= 0
}

// to is the switch of this package for dialers.
func (d *dialer) to(addr netip.AddrPort) transport.Dialer {
	cfg := d.cfg.udp()
	switch d.endpoint.Scheme {
	case "dtls+udp":
		return &dtls.Dialer{
			Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
				c, err := udp.Connect(ctx, addr, cfg)
				if err != nil {
					return nil, addr, err // not a nil *Conn in an interface
				}
				return c, addr, nil
			},
			Config: d.cfg.dtls(d.endpoint),
		}
	case "tcp", "tls+tcp":
		return &tcp.Dialer{Remote: addr, Config: d.cfg.tcp(d.endpoint)}
	case "sctp", "sctp+udp", "dtls+sctp", "dtls+sctp+udp":
		return d.cfg.sctpDialer(d.endpoint, addr)
	case "dccp", "dccp+udp", "dtls+dccp", "dtls+dccp+udp":
		return d.cfg.dccpDialer(d.endpoint, addr)
	case "mta+tls+tcp":
		return &tlsmux.Dialer{TCP: &tcp.Dialer{Remote: addr, Config: d.cfg.tcp(d.endpoint)}}
	default: // check has seen to it
		return &udp.Dialer{Remote: addr, Config: cfg}
	}
}
