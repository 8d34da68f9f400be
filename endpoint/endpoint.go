// Package endpoint is the one switch from an endpoint URL to the transport
// that serves it, for both programs: names are resolved here, plain transports
// are held to the loopback, and what a build does not have is said so.
//
// The goroutines it starts are those of dials to several addresses at a time,
// and end with these; those of the transports are theirs.
package endpoint

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux"
	"ipfixsuite/transport/udp"
)

// Config is what both ends say beside the URL. The zero value serves plain
// transports on the loopback.
type Config struct {
	// Credentials are required by secure schemes. Handshakes to come use them
	// as they are then.
	Credentials credentials.Source
	// Insecure permits plain transports off the loopback.
	Insecure bool
	// MTU bounds the IP packets sent, in octets; 0: what the path takes.
	MTU int
	// ReceiveBuffer is the kernel's for a listener, in octets; 0: the
	// transport's default.
	ReceiveBuffer int
	// IdleTimeout ends a listener's silent sessions; 0: the transport's
	// default, negative: never.
	IdleTimeout time.Duration
	// DeadAfter is how long a peer's host may acknowledge nothing, where the
	// transport itself watches it (TCP); 0: the transport's default.
	DeadAfter time.Duration
	// DTLS sets what is particular to DTLS; Credentials, ServerName,
	// IdleTimeout and Log are filled in where it leaves them out, Connection
	// IDs are always offered and granted.
	DTLS dtls.Config
	// Sockets are what listeners of SCTP over UDP, and of DCCP, share; nil:
	// each has its own.
	Sockets *Sockets
	// Log takes what the operator should know; nil: nothing is logged.
	Log *slog.Logger
	// Lookup resolves a name; nil: the system's resolver.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
}

// Error says why an endpoint cannot be served.
type Error struct {
	Endpoint transport.Endpoint
	Reason   string
	hint     string
}

func (e *Error) Error() string { return e.Endpoint.String() + ": " + e.Reason }

// Hint tells how to put it right; empty if there is nothing to say.
func (e *Error) Hint() string { return e.hint }

// built lists the schemes of this build.
var built = []string{"udp", "dtls+udp", "tcp", "tls+tcp", "mta+tls+tcp", "sctp", "sctp+udp", "dtls+sctp", "dtls+sctp+udp",
	"dccp", "dccp+udp", "dtls+dccp", "dtls+dccp+udp"}

const minMTU = 576 // what every host takes (RFC 1122, Section 3.3.2)

// check judges what both directions have in common.
func (cfg Config) check(e transport.Endpoint) error {
	if !slices.Contains(built, e.Scheme) {
		return &Error{e, "scheme " + e.Scheme + " is not available yet in this build", "available are " + strings.Join(built, ", ")}
	}
	switch {
	case isSCTP(e):
		if _, err := parseSCTP(e); err != nil {
			return err
		}
	case isDCCP(e):
		if _, err := parseDCCP(e); err != nil {
			return err
		}
	case len(e.Query) > 0:
		name := slices.Sorted(maps.Keys(e.Query))[0]
		return &Error{e, fmt.Sprintf("option %q means nothing to %s", name, e.Scheme), "leave it out"}
	}
	if cfg.MTU != 0 && (cfg.MTU < minMTU || cfg.MTU > 65535) {
		return &Error{e, fmt.Sprintf("MTU %d is not within %d to 65535", cfg.MTU, minMTU), "0 or none: what the path takes"}
	}
	if e.Secure() {
		if cfg.Credentials == nil || cfg.Credentials.Current() == nil {
			_, err := credentials.Load(credentials.Config{}) // says how to get some
			return fmt.Errorf("%v: %w", e, err)
		}
		if !strings.HasPrefix(e.Scheme, "dtls+") && !cfg.Credentials.Current().HasCertificate() {
			return fmt.Errorf("%v: %w", e, &tcp.NoCertificateError{})
		}
		return nil
	}
	if !cfg.Insecure && !e.Loopback() {
		return plainError(e)
	}
	return nil
}

// secured is what to use instead of a plain scheme.
var secured = map[string]string{
	"tcp": "tls+tcp", "sctp": "dtls+sctp", "sctp+udp": "dtls+sctp+udp", "dccp": "dtls+dccp", "dccp+udp": "dtls+dccp+udp",
}

func plainError(e transport.Endpoint) error {
	return &Error{e, e.Scheme + " is neither encrypted nor authenticated, and this is not the loopback",
		"use " + cmp.Or(secured[e.Scheme], "dtls+udp") + "://, or pass --insecure if the network is trusted"}
}

func (cfg Config) udp() udp.Config {
	return udp.Config{MTU: cfg.MTU, ReceiveBuffer: cfg.ReceiveBuffer, IdleTimeout: cfg.IdleTimeout, Log: cfg.Log}
}

func (cfg Config) tcp(e transport.Endpoint) tcp.Config {
	c := tcp.Config{Scheme: e.Scheme, DeadAfter: cfg.DeadAfter, IdleTimeout: cfg.IdleTimeout, Log: cfg.Log}
	if e.Secure() {
		c.Credentials, c.ServerName = cfg.Credentials, e.Host
	}
	if e.Scheme == "mta+tls+tcp" {
		c.NextProtos = []string{tlsmux.Protocol}
		c.Upgrade = map[string]tcp.Upgrade{tlsmux.Protocol: tlsmux.Upgrade(tlsmux.CollectorConfig{Names: cfg.names, IdleTimeout: cfg.IdleTimeout})}
	}
	return c
}

// names are those of our certificate.
func (cfg Config) names() []string {
	creds := cfg.Credentials.Current()
	if creds == nil || !creds.HasCertificate() {
		return nil
	}
	leaf, err := x509.ParseCertificate(creds.Certificate().Certificate[0])
	if err != nil {
		return nil // it was read before
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func (cfg Config) dtls(e transport.Endpoint) dtls.Config {
	d := cfg.DTLS
	if d.Credentials == nil {
		d.Credentials = cfg.Credentials
	}
	if d.ServerName == "" {
		d.ServerName = e.Host
	}
	if d.IdleTimeout == 0 {
		d.IdleTimeout = cfg.IdleTimeout
	}
	if d.Log == nil {
		d.Log = cfg.Log
	}
	// An exporter whose address changes in mid-session (NAT) keeps its session.
	d.ConnectionID = true
	d.Scheme = e.Scheme
	return d
}

// Listen binds an endpoint. Of a name's addresses the first that is one of
// this host is bound.
func Listen(e transport.Endpoint, cfg Config) (transport.Listener, error) {
	if err := cfg.check(e); err != nil {
		return nil, err
	}
	addrs, _, err := cfg.resolve(context.Background(), e)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs {
		l, err := cfg.listen(e, addr)
		if err == nil {
			return l, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%v: %w", e, join(errs))
}

// listen is the switch of this package for listeners.
func (cfg Config) listen(e transport.Endpoint, addr netip.AddrPort) (transport.Listener, error) {
	switch e.Scheme {
	case "tcp", "tls+tcp", "mta+tls+tcp":
		return tcp.Listen(addr, cfg.tcp(e))
	case "sctp", "sctp+udp", "dtls+sctp", "dtls+sctp+udp":
		return cfg.sctpListen(e, addr)
	case "dccp", "dccp+udp", "dtls+dccp", "dtls+dccp+udp":
		return cfg.dccpListen(e, addr)
	default: // check has seen to it
		conn, err := udp.Listen(addr, cfg.udp())
		if err != nil {
			return nil, err
		}
		if e.Scheme == "dtls+udp" {
			return dtls.NewListener(conn, cfg.dtls(e)), nil
		}
		return udp.NewListener(conn, cfg.udp()), nil
	}
}

// join is errors.Join on one line; there is at least one error.
func join(errs []error) error {
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}

// resolve finds the addresses of an endpoint, in the order they are to be
// tried in, and how long they hold (0: it is not known). Names of the loopback give IPv4 first: what listens and what dials
// by such a name must meet, and plain UDP cannot tell that they did not.
func (cfg Config) resolve(ctx context.Context, e transport.Endpoint) (addrs []netip.AddrPort, ttl time.Duration, err error) {
	if addr, ok := e.AddrPort(); ok {
		return []netip.AddrPort{addr}, 0, nil
	}
	var found []netip.Addr
	if cfg.Lookup != nil {
		found, err = cfg.Lookup(ctx, e.Host)
	} else {
		found, ttl, err = system(ctx, e.Host)
	}
	if err != nil {
		if de, ok := errors.AsType[*net.DNSError](err); ok && ctx.Err() == nil {
			return nil, 0, &Error{e, fmt.Sprintf("name %s: %s", e.Host, de.Err), "check the name, or give an address"}
		}
		return nil, 0, fmt.Errorf("%v: %w", e, err)
	}
	for _, a := range found {
		if addr := netip.AddrPortFrom(a.Unmap(), e.Port); !slices.Contains(addrs, addr) && len(addrs) < maxAddrs {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, 0, &Error{e, "name " + e.Host + " has no address", ""}
	}
	if e.Loopback() {
		for _, addr := range addrs {
			if !addr.Addr().IsLoopback() && !e.Secure() && !cfg.Insecure {
				return nil, 0, plainError(e)
			}
		}
		slices.SortStableFunc(addrs, func(a, b netip.AddrPort) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	}
	return addrs, ttl, nil
}

// maxAddrs bounds the addresses of a name that are tried.
const maxAddrs = 16
