package endpoint

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/kernel"
	"ipfixsuite/transport/sctp/userspace"
)

// Bounds of what an endpoint of SCTP may say.
const (
	maxSCTPAddrs   = 8
	maxSCTPStreams = 4096
	maxSCTPRetries = 1000
)

// sctpOptions are what a URL of SCTP says after '?'.
type sctpOptions struct {
	// more are further addresses of the end in the URL, from are ours (kernel
	// only: addr=ADDRESS and from=ADDRESS, each as often as there are).
	more, from []netip.Addr
	// udp is the port of the outer UDP (RFC 6951), +udp only.
	udp uint16
	// streams, retries, rtoMax and lifetime are streams=N, retries=N,
	// rto-max=DURATION and lifetime=DURATION.
	streams  uint16
	retries  int
	rtoMax   time.Duration
	lifetime time.Duration
}

// overUDP tells the stack in user space from the kernel's.
func overUDP(e transport.Endpoint) bool { return strings.HasSuffix(e.Scheme, "+udp") }

// isSCTP tells the four schemes of SCTP.
func isSCTP(e transport.Endpoint) bool {
	return e.Scheme == "sctp" || e.Scheme == "sctp+udp" || e.Scheme == "dtls+sctp" || e.Scheme == "dtls+sctp+udp"
}

// parseSCTP reads the options.
func parseSCTP(e transport.Endpoint) (o sctpOptions, err error) {
	o.udp = userspace.DefaultUDPPort
	for _, name := range slices.Sorted(maps.Keys(e.Query)) {
		values := e.Query[name]
		bad := func(what string) error {
			return &Error{e, fmt.Sprintf("option %s=%s is no %s", name, strings.Join(values, ","), what), ""}
		}
		number := func(most uint64) (uint64, error) {
			n, err := strconv.ParseUint(values[0], 10, 32)
			if err != nil || n > most || len(values) > 1 {
				return 0, bad(fmt.Sprintf("number from 0 to %d", most))
			}
			return n, nil
		}
		duration := func() (time.Duration, error) {
			d, err := time.ParseDuration(values[0])
			if err != nil || d < time.Millisecond || d > time.Hour || len(values) > 1 {
				return 0, bad("duration from 1ms to 1h")
			}
			return d, nil
		}
		addrs := func(list *[]netip.Addr) error {
			for _, v := range values {
				a, err := netip.ParseAddr(v)
				if err != nil || len(*list) == maxSCTPAddrs {
					return bad(fmt.Sprintf("address, or one of more than %d", maxSCTPAddrs))
				}
				*list = append(*list, a)
			}
			return nil
		}
		var n uint64
		switch {
		case name == "addr" && !overUDP(e):
			err = addrs(&o.more)
		case name == "from" && !overUDP(e):
			err = addrs(&o.from)
		case name == "udp" && overUDP(e):
			n, err = number(0xFFFF)
			o.udp = uint16(n)
		case name == "streams":
			n, err = number(maxSCTPStreams)
			o.streams = uint16(n)
		case name == "retries":
			n, err = number(maxSCTPRetries)
			o.retries = int(n)
		case name == "rto-max":
			o.rtoMax, err = duration()
		case name == "lifetime":
			o.lifetime, err = duration()
		default:
			return o, &Error{e, fmt.Sprintf("option %q means nothing to %s", name, e.Scheme), "leave it out"}
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

// config is what the association is asked for.
func (o sctpOptions) config(cfg Config, e transport.Endpoint) sctp.Config {
	return sctp.Config{
		OutStreams: o.streams, InStreams: o.streams, Auth: e.Secure(),
		RTOMax: o.rtoMax, MaxRetransmits: o.retries, MTU: cfg.MTU, ReceiveBuffer: max(cfg.ReceiveBuffer, 0),
	}
}

func (o sctpOptions) session(cfg Config, e transport.Endpoint) sctp.SessionConfig {
	s := sctp.SessionConfig{Scheme: e.Scheme, Lifetime: o.lifetime, IdleTimeout: cfg.IdleTimeout, Log: cfg.Log}
	if e.Secure() {
		d := cfg.dtls(e)
		s.DTLS = &d
	}
	return s
}

// ends gives addresses one port.
func ends(port uint16, first []netip.Addr, more ...netip.Addr) (list []netip.AddrPort) {
	for _, a := range append(slices.Clone(first), more...) {
		list = append(list, netip.AddrPortFrom(a, port))
	}
	return list
}

// sctpDialer dials one address; check has read the options before.
func (cfg Config) sctpDialer(e transport.Endpoint, addr netip.AddrPort) transport.Dialer {
	o, _ := parseSCTP(e)
	c := o.config(cfg, e)
	d := &sctp.Dialer{Config: o.session(cfg, e)}
	if overUDP(e) {
		d.Connect = func(ctx context.Context) (sctp.Association, error) {
			return userspace.Dial(ctx, addr, userspace.Config{Config: c, UDPPort: o.udp})
		}
		return d
	}
	d.Connect = func(ctx context.Context) (sctp.Association, error) {
		return kernel.Dial(ctx, ends(0, o.from), ends(addr.Port(), []netip.Addr{addr.Addr()}, o.more...), c)
	}
	return d
}

// sctpListen binds one address, with those that the options add.
func (cfg Config) sctpListen(e transport.Endpoint, addr netip.AddrPort) (transport.Listener, error) {
	o, err := parseSCTP(e)
	if err != nil {
		return nil, err
	}
	c := o.config(cfg, e)
	var a sctp.Acceptor
	if overUDP(e) {
		a, err = cfg.Sockets.listen(netip.AddrPortFrom(addr.Addr(), o.udp), addr.Port(), userspace.Config{Config: c})
	} else {
		a, err = kernel.Listen(ends(addr.Port(), []netip.Addr{addr.Addr()}, o.more...), c)
	}
	if err != nil {
		return nil, err
	}
	return sctp.NewListener(a, o.session(cfg, e)), nil
}
