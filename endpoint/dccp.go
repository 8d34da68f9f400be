package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/kernel"
	"ipfixsuite/transport/dtls"
)

// Service codes of IPFIX over DCCP. None is registered; these are of the range
// for private use (RFC 4340, Section 8.1.2), and tell plain IPFIX from DTLS on
// one port (RFC 5238, Section 3.6).
const (
	servicePlain  dccp.ServiceCode = 0x3F495046 // ?IPF
	serviceSecure dccp.ServiceCode = 0x3F495053 // ?IPS
)

// dccpQueue is how many messages may wait for congestion control: what stands
// in the queue delays the answer to a probe behind it.
const dccpQueue = 64

// isDCCP tells the four schemes of DCCP.
func isDCCP(e transport.Endpoint) bool {
	return e.Scheme == "dccp" || e.Scheme == "dccp+udp" || e.Scheme == "dtls+dccp" || e.Scheme == "dtls+dccp+udp"
}

// stack is who speaks DCCP as IP protocol 33.
type stack uint8

const (
	stackAny    stack = iota // the kernel where it does, else we
	stackKernel              // the kernel's sockets (stack=kernel)
	stackRaw                 // a raw socket of ours (stack=raw)
)

// dccpOptions are what a URL of DCCP says after '?'.
type dccpOptions struct {
	// udp is the port of the outer UDP (RFC 6773), +udp only: udp=PORT.
	udp uint16
	// stack is the choice where there is no UDP: stack=kernel or stack=raw.
	stack stack
}

// parseDCCP reads the options.
func parseDCCP(e transport.Endpoint) (o dccpOptions, err error) {
	if overUDP(e) {
		o.udp = dccp.DefaultUDPPort
	}
	for _, name := range slices.Sorted(maps.Keys(e.Query)) {
		value, once := e.Query.Get(name), len(e.Query[name]) == 1
		said := strings.Join(e.Query[name], ",")
		switch {
		case name == "udp" && overUDP(e):
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil || n == 0 || !once {
				return o, &Error{e, fmt.Sprintf("option udp=%s is no port", said), "ports are 1 to 65535"}
			}
			o.udp = uint16(n)
		case name == "stack" && !overUDP(e):
			switch {
			case value == "kernel" && once:
				o.stack = stackKernel
			case value == "raw" && once:
				o.stack = stackRaw
			default:
				return o, &Error{e, fmt.Sprintf("option stack=%s is neither kernel nor raw", said), "leave it out: the kernel's DCCP where it has one, else ours"}
			}
		default:
			return o, &Error{e, fmt.Sprintf("option %q means nothing to %s", name, e.Scheme), "leave it out"}
		}
	}
	return o, nil
}

// KernelDCCP tells whether an endpoint at an address is served by the kernel's
// own DCCP sockets now: where it speaks DCCP, it would answer for ours. Nothing
// is loaded by asking.
func KernelDCCP(e transport.Endpoint, at netip.Addr) bool {
	o, err := parseDCCP(e)
	return err == nil && isDCCP(e) && o.kernel(at)
}

func (o dccpOptions) kernel(at netip.Addr) bool {
	switch {
	case o.udp != 0 || o.stack == stackRaw:
		return false
	case o.stack == stackKernel:
		return true
	}
	return carrier.KernelHasDCCP() && (kernel.Supported(!at.Unmap().Is4()) == nil || at.IsUnspecified() && kernel.Supported(false) == nil)
}

// kernelConfig is how the kernel's sockets are set up.
func (cfg Config) kernelConfig(service dccp.ServiceCode) kernel.Config {
	return kernel.Config{
		Services: []dccp.ServiceCode{service}, ReceiveBuffer: cfg.ReceiveBuffer, MTU: cfg.MTU, QueueMessages: dccpQueue,
	}
}

// kernelError says what to do about a kernel that was asked for and has none.
func kernelError(e transport.Endpoint, err error) error {
	if errors.Is(err, kernel.ErrUnsupported) {
		return &Error{e, err.Error(), "modprobe dccp_ipv4 dccp_ipv6 (Linux before 6.16), or leave stack=kernel out, or use dccp+udp"}
	}
	return err
}

func (cfg Config) dccp() dccp.Config {
	return dccp.Config{
		QueueMessages: dccpQueue, Log: cfg.Log,
		Socket: carrier.Config{MTU: cfg.MTU, ReceiveBuffer: cfg.ReceiveBuffer},
	}
}

// dtlsDCCP is the DTLS of a connection, whose peer does not change.
func (cfg Config) dtlsDCCP(e transport.Endpoint) dtls.Config {
	d := cfg.dtls(e)
	d.ConnectionID = false
	return d
}

// dccpDialer dials one address; check has read the options before.
func (cfg Config) dccpDialer(e transport.Endpoint, addr netip.AddrPort) transport.Dialer {
	o, _ := parseDCCP(e)
	to := dccp.Addr{IP: addr.Addr(), Port: addr.Port(), UDP: o.udp}
	if !e.Secure() {
		return &dccpPlain{
			e: e, o: o, raw: &dccp.Dialer{To: to, Service: servicePlain, Scheme: e.Scheme, Config: cfg.dccp()},
			kernel: &kernel.Dialer{To: addr, Scheme: e.Scheme, Config: cfg.kernelConfig(servicePlain), DeadAfter: cfg.DeadAfter},
		}
	}
	return &dccpSecured{dtls: &dtls.Dialer{
		// DTLS begins when the connection is there (RFC 5238, Section 3.2).
		Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
			if o.kernel(addr.Addr()) {
				c, err := kernel.Dial(ctx, netip.AddrPort{}, addr, cfg.kernelConfig(serviceSecure))
				if err != nil {
					return nil, addr, kernelError(e, err)
				}
				return c.Datagrams(), addr, nil
			}
			conn := cfg.dccp()
			conn.Track = true
			c, err := dccp.Dial(ctx, to, serviceSecure, conn)
			if err != nil {
				return nil, addr, err
			}
			d := c.Datagrams()
			if made, ok := ctx.Value(dccpMade{}).(**dccp.Datagrams); ok {
				*made = d
			}
			return d, addr, nil
		},
		Config: cfg.dtlsDCCP(e),
	}}
}

// dccpPlain dials by whichever stack is the right one then.
type dccpPlain struct {
	e      transport.Endpoint
	o      dccpOptions
	raw    *dccp.Dialer
	kernel *kernel.Dialer
}

// Dial implements transport.Dialer.
func (d *dccpPlain) Dial(ctx context.Context) (transport.Session, error) {
	if !d.o.kernel(d.kernel.To.Addr()) {
		return d.raw.Dial(ctx)
	}
	s, err := d.kernel.Dial(ctx)
	return s, kernelError(d.e, err)
}

// dccpSecured dials sessions of DTLS over DCCP, which know what became of each
// message.
type dccpSecured struct{ dtls *dtls.Dialer }

// dccpMade is where, in a context, a dial leaves its connection.
type dccpMade struct{}

// Dial implements transport.Dialer.
func (d *dccpSecured) Dial(ctx context.Context) (transport.Session, error) {
	var made *dccp.Datagrams
	s, err := d.dtls.Dial(context.WithValue(ctx, dccpMade{}, &made))
	if err != nil {
		return nil, err
	}
	if made == nil { // the kernel does not tell
		return s, nil
	}
	return &dccpTracked{s, made}, nil
}

// Forget makes the next session begin with a full handshake.
func (d *dccpSecured) Forget() { d.dtls.Forget() }

type dccpTracked struct {
	transport.Session
	conn *dccp.Datagrams
}

// Security implements transport.Secured.
func (s *dccpTracked) Security() (sec transport.Security) {
	if p, ok := s.Session.(transport.Secured); ok {
		sec = p.Security()
	}
	return sec
}

// Fates implements transport.Tracker.
func (s *dccpTracked) Fates(dst []transport.Fate) []transport.Fate { return s.conn.Fates(dst) }

// dccpListen binds one address.
func (cfg Config) dccpListen(e transport.Endpoint, addr netip.AddrPort) (transport.Listener, error) {
	o, err := parseDCCP(e)
	if err != nil {
		return nil, err
	}
	if o.kernel(addr.Addr()) {
		l, err := cfg.kernelListen(e, addr)
		return l, kernelError(e, err)
	}
	k, release, err := cfg.Sockets.dccp(dccp.Addr{IP: addr.Addr(), UDP: o.udp}, cfg.dccp())
	if err != nil {
		return nil, err
	}
	port := addr.Port()
	if port == 0 {
		port = k.FreePort()
	}
	if !e.Secure() {
		l, err := dccp.NewServer(k, port, []dccp.ServiceCode{servicePlain}, e.Scheme, dccp.ListenConfig{Config: cfg.dccp()}, release)
		if err != nil {
			_ = release()
			return nil, err
		}
		return l, nil
	}
	l, err := k.Listen(port, []dccp.ServiceCode{serviceSecure}, dccp.ListenConfig{Config: cfg.dccp()})
	if err != nil {
		_ = release()
		return nil, err
	}
	return dtls.NewConnectionListener(&dccp.Connections{Listener: l, Release: release}, cfg.dtlsDCCP(e)), nil
}

// kernelListen binds one address with the kernel's DCCP.
func (cfg Config) kernelListen(e transport.Endpoint, addr netip.AddrPort) (transport.Listener, error) {
	if addr.Addr() == netip.IPv6Unspecified() && kernel.Supported(true) != nil {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	if !e.Secure() {
		l, err := kernel.NewServer(addr, kernel.ServerConfig{Config: cfg.kernelConfig(servicePlain), Scheme: e.Scheme, IdleTimeout: cfg.IdleTimeout})
		if err != nil {
			return nil, err // not a nil *Server in an interface
		}
		return l, nil
	}
	l, err := kernel.Listen(addr, cfg.kernelConfig(serviceSecure))
	if err != nil {
		return nil, err
	}
	return dtls.NewConnectionListener(&kernel.Connections{Listener: l}, cfg.dtlsDCCP(e)), nil
}
