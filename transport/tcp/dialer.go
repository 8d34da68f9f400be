package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ipfixsuite/transport"
)

const (
	// verdictLeast and verdictMost bound how long Dial waits for a TLS 1.3
	// peer's verdict on our certificate.
	verdictLeast = 50 * time.Millisecond
	verdictMost  = time.Second
)

// Dialer opens sessions to one address. It keeps what can be resumed, so use
// one for an endpoint's life.
type Dialer struct {
	Remote netip.AddrPort
	Config Config

	client client
}

// Forget makes the next Dial a full handshake.
func (d *Dialer) Forget() { d.client.forget() }

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	c, err := d.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return d.Session(ctx, c)
}

// Session makes a connection a session of plain IPFIX.
func (d *Dialer) Session(ctx context.Context, c *Conn) (transport.Session, error) {
	cfg := d.Config.withDefaults()
	s := newSession(c, &cfg)
	if c.tls != nil && c.tls.ConnectionState().Version == tls.VersionTLS13 {
		if err := s.verdict(ctx); err != nil {
			_ = s.Close(ctx) // has nothing else to say
			return nil, fmt.Errorf("tls handshake with %v: %w", d.Remote, err)
		}
	}
	return s, nil
}

// Connect makes a connection and, with Credentials, authenticates both sides.
// A TLS 1.3 peer that refuses our certificate says so only afterwards, to the
// first Read.
func (d *Dialer) Connect(ctx context.Context) (*Conn, error) {
	cfg := d.Config.withDefaults()
	dialer := net.Dialer{KeepAlive: -1} // tune sets its own
	raw, err := dialer.DialContext(ctx, "tcp", d.Remote.String())
	if err != nil {
		return nil, err
	}
	tc, ok := raw.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("dialled a %T", raw), raw.Close())
	}
	tune(tc, cfg.DeadAfter)
	m, err := newMeter(tc)
	if err != nil {
		return nil, errors.Join(err, tc.Close())
	}
	c := &Conn{Conn: m, tcp: m, Peer: transport.Peer{
		Identity: d.Remote.Addr().Unmap().String(), Remote: d.Remote, Local: addrPort(tc.LocalAddr()),
		Scheme: cfg.Scheme, Session: transport.NewSessionNumber(),
	}}
	if cfg.Credentials == nil {
		return c, nil
	}
	if err := d.secure(ctx, &cfg, c); err != nil {
		return nil, errors.Join(fmt.Errorf("tls handshake with %v: %w", d.Remote, err), tc.Close())
	}
	return c, nil
}

func (d *Dialer) secure(ctx context.Context, cfg *Config, c *Conn) error {
	conf, err := d.client.config(cfg, c.tcp)
	if err != nil {
		return err
	}
	t := tls.Client(c.tcp, conf)
	began := time.Now()
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.took = time.Since(began)
	st := t.ConnectionState()
	c.Conn, c.tls, c.Protocol = t, t, st.NegotiatedProtocol
	c.Peer.Identity, c.Peer.Resumed = c.tcp.identity, st.DidResume
	return nil
}

// verdict waits for what a TLS 1.3 peer says to our certificate: an alert ends
// the session; anything else, as a rule a ticket, is consent. A peer that says
// nothing consents too: it may give no tickets.
func (s *session) verdict(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(max(2*s.conn.took, verdictLeast), verdictMost))
	defer cancel()
	select {
	case <-s.conn.tcp.heard:
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
	}
	return nil
}
