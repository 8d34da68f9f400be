package tcp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ipfixsuite/transport/credentials"
)

// suites are those of TLS 1.2 with forward secrecy and authenticated
// encryption; those of TLS 1.3 all are.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// base is what both sides have in common.
func base(cfg *Config, creds *credentials.Credentials) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: suites,
		Certificates: []tls.Certificate{creds.Certificate()},
		NextProtos:   cfg.NextProtos, KeyLogWriter: creds.KeyLog(),
		// A session is for bulk data: small first records only cost.
		DynamicRecordSizingDisabled: true,
	}
}

// certified returns the credentials to be used now.
func certified(cfg *Config) (*credentials.Credentials, error) {
	creds := cfg.Credentials.Current()
	if creds == nil || !creds.HasCertificate() {
		return nil, &NoCertificateError{}
	}
	return creds, nil
}

// NoCertificateError says that TLS lacks a certificate.
type NoCertificateError struct{}

func (*NoCertificateError) Error() string {
	return "tls needs a certificate: it knows no pre-shared keys here"
}

// Hint tells how to put it right.
func (*NoCertificateError) Hint() string {
	return "pass --cert, --key and --ca, or use dtls+udp:// with the pre-shared key"
}

// client makes the configuration of one handshake, and keeps the sessions that
// can be resumed as long as the credentials stay.
type client struct {
	mu    sync.Mutex
	creds *credentials.Credentials
	cache tls.ClientSessionCache
}

// forget makes the next handshake a full one.
func (c *client) forget() {
	c.mu.Lock()
	c.cache = nil
	c.mu.Unlock()
}

func (c *client) config(cfg *Config, m *meter) (*tls.Config, error) {
	creds, err := certified(cfg)
	if err != nil {
		return nil, err
	}
	name := cfg.ServerName
	if n := creds.ServerName(); n != "" {
		name = n
	}
	if name == "" {
		return nil, errors.New("no name to check the peer's certificate against")
	}
	t := base(cfg, creds)
	t.ServerName = name // sent unless it is an address (RFC 6066, Section 3)
	// VerifyConnection judges instead, resumed sessions too.
	t.InsecureSkipVerify = true
	t.VerifyConnection = func(s tls.ConnectionState) error {
		m.chain = s.PeerCertificates
		m.identity, err = creds.VerifyPeer(der(s.PeerCertificates), credentials.PeerIsCollector, name, time.Now())
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cache == nil || c.creds != creds {
		c.creds, c.cache = creds, tls.NewLRUClientSessionCache(1)
	}
	t.ClientSessionCache = c.cache
	return t, nil
}

// server makes the configurations of a Listener's handshakes. Those of one
// Credentials share the keys of their tickets.
type server struct {
	mu     sync.Mutex
	creds  *credentials.Credentials
	shared *tls.Config
	lines  lines
}

func (s *server) config(cfg *Config) (*tls.Config, *credentials.Credentials, error) {
	creds, err := certified(cfg)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared != nil && s.creds == creds {
		return s.shared, creds, nil
	}
	t := base(cfg, creds)
	t.ClientAuth = tls.RequireAnyClientCert // VerifyConnection judges them
	one := t.Clone()
	t.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		m, ok := h.Conn.(*meter)
		if !ok {
			return nil, fmt.Errorf("handshake on a %T", h.Conn)
		}
		c := one.Clone()
		c.VerifyConnection = func(s tls.ConnectionState) error {
			m.chain = s.PeerCertificates
			var err error
			m.identity, err = creds.VerifyPeer(der(s.PeerCertificates), credentials.PeerIsExporter, "", time.Now())
			return err
		}
		s.trace(t, c, m)
		if len(h.SupportedProtos) > 0 && !overlap(h.SupportedProtos, c.NextProtos) {
			// Plain TLS goes on with a peer that would rather speak
			// something else.
			c.NextProtos = nil
		}
		return c, nil
	}
	s.creds, s.shared = creds, t
	return t, creds, nil
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(p string) bool { return slices.Contains(b, p) })
}

// der are certificates as the peer presented them.
func der(certs []*x509.Certificate) [][]byte {
	chain := make([][]byte, len(certs))
	for i, c := range certs {
		chain[i] = c.Raw
	}
	return chain
}
