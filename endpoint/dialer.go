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
	"ipfixsuite/transport/udp"
)

// triesPatience is how long an address may take to answer while there is
// another to try.
const triesPatience = 5 * time.Second

// Dialer makes a dialer for an endpoint. A name is resolved anew for each
// session, and its addresses are tried one after the other, that of the last
// success first.
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
}

// Dial implements transport.Dialer.
func (d *dialer) Dial(ctx context.Context) (transport.Session, error) {
	addrs, err := d.cfg.resolve(ctx, d.endpoint)
	if err != nil {
		return nil, err
	}
	addrs, dialers := d.prepare(addrs)
	var errs []error
	for i, addr := range addrs {
		s, err := try(ctx, dialers[i], len(addrs)-i)
		if err == nil {
			d.mu.Lock()
			d.last = addr
			d.mu.Unlock()
			return s, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%v: %w", d.endpoint, join(errs))
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
// that the name no longer has are forgotten.
func (d *dialer) prepare(addrs []netip.AddrPort) ([]netip.AddrPort, []transport.Dialer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(addrs, d.last); i > 0 {
		addrs = append([]netip.AddrPort{d.last}, slices.Delete(addrs, i, i+1)...)
	}
	known := d.byAddr
	d.byAddr = make(map[netip.AddrPort]transport.Dialer, len(addrs))
	dialers := make([]transport.Dialer, len(addrs))
	for i, addr := range addrs {
		if dialers[i] = known[addr]; dialers[i] == nil {
			dialers[i] = d.to(addr)
		}
		d.byAddr[addr] = dialers[i]
	}
	return addrs, dialers
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
	default: // check has seen to it
		return &udp.Dialer{Remote: addr, Config: cfg}
	}
}

// try dials one of several addresses and leaves time for the others.
func try(ctx context.Context, d transport.Dialer, left int) (transport.Session, error) {
	if left > 1 {
		patience := triesPatience
		if deadline, ok := ctx.Deadline(); ok {
			patience = min(patience, time.Until(deadline)/time.Duration(left))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	return d.Dial(ctx)
}
