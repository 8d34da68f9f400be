package endpoint

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dccp/carrier"
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

// parseDCCP reads the options: udp=PORT is that of the outer UDP (RFC 6773),
// +udp only.
func parseDCCP(e transport.Endpoint) (udp uint16, err error) {
	udp = dccp.DefaultUDPPort
	for _, name := range slices.Sorted(maps.Keys(e.Query)) {
		if name != "udp" || !overUDP(e) {
			return 0, &Error{e, fmt.Sprintf("option %q means nothing to %s", name, e.Scheme), "leave it out"}
		}
		n, err := strconv.ParseUint(e.Query.Get(name), 10, 16)
		if err != nil || n == 0 || len(e.Query[name]) > 1 {
			return 0, &Error{e, fmt.Sprintf("option %s=%s is no port", name, strings.Join(e.Query[name], ",")), "ports are 1 to 65535"}
		}
		udp = uint16(n)
	}
	if !overUDP(e) {
		udp = 0
	}
	return udp, nil
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
	udp, _ := parseDCCP(e)
	to := dccp.Addr{IP: addr.Addr(), Port: addr.Port(), UDP: udp}
	if !e.Secure() {
		return &dccp.Dialer{To: to, Service: servicePlain, Scheme: e.Scheme, Config: cfg.dccp()}
	}
	return &dccpSecured{dtls: &dtls.Dialer{
		// DTLS begins when the connection is there (RFC 5238, Section 3.2).
		Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
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
	return &dccpTracked{s, made}, nil
}

// Forget makes the next session begin with a full handshake.
func (d *dccpSecured) Forget() { d.dtls.Forget() }

type dccpTracked struct {
	transport.Session
	conn *dccp.Datagrams
}

// Fates implements transport.Tracker.
func (s *dccpTracked) Fates(dst []transport.Fate) []transport.Fate { return s.conn.Fates(dst) }

// dccpListen binds one address.
func (cfg Config) dccpListen(e transport.Endpoint, addr netip.AddrPort) (transport.Listener, error) {
	udp, err := parseDCCP(e)
	if err != nil {
		return nil, err
	}
	k, release, err := cfg.Sockets.dccp(dccp.Addr{IP: addr.Addr(), UDP: udp}, cfg.dccp())
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
