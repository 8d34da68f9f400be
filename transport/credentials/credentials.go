// Package credentials holds what a secure transport needs to prove who it is
// and to judge who its peer is: a certificate with its key, the authorities
// trusted, pre-shared keys, and the names that are let in (RFC 7011, Section
// 11.3). It knows no transport; DTLS and TLS share it.
//
// A Credentials value never changes; a Holder has another one when its files
// have changed, and hands it to new handshakes. There is no revocation by CRL
// or OCSP; short validity and --allow take their place.
//
// It starts no goroutine.
package credentials

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// Config names the files. CertFile, KeyFile and CAFile belong together;
// PSKFile may stand alone or beside them.
type Config struct {
	CertFile string // PEM: own certificate, then intermediates
	KeyFile  string // PEM: its key; empty: in CertFile
	CAFile   string // PEM: authorities that vouch for peers, or peers' own certificates

	// PSKIdentity is the identity to present; empty: the only one in PSKFile.
	PSKIdentity string
	PSKFile     string // lines IDENTITY:HEXKEY

	// Allow are the patterns of names that exporters may have: see Pattern.
	// Empty: every name that the authorities vouch for.
	Allow []string
	// ServerName is the name a collector must prove instead of the dialled
	// one.
	ServerName string
	// KeyLogFile gets the session keys in NSS format, so that captures can be
	// decrypted. For debugging only.
	KeyLogFile string

	Log *slog.Logger     // warnings; nil: only Warnings tells them
	Now func() time.Time // nil: time.Now
}

func (cfg Config) now() time.Time {
	if cfg.Now != nil {
		return cfg.Now()
	}
	return time.Now()
}

// Credentials are loaded and checked. Its methods may be called from several
// goroutines.
type Credentials struct {
	cert        tls.Certificate
	certName    string // for people: certificate FILE
	roots       *x509.CertPool
	authorities [][]byte // those of roots
	psks        map[string][]byte
	identity    string
	serverName  string
	allow       []Pattern
	keyLog      io.Writer
	warnings    []string

	fingerprint [sha256.Size]byte
	sum         [sha256.Size]byte // of all that matters
}

// Load reads and checks all files. Errors are one line and, where there is
// advice, have a Hint method.
func Load(cfg Config) (*Credentials, error) {
	c, err := load(cfg, nil)
	if err != nil {
		return nil, err
	}
	c.tell(cfg.Log)
	return c, nil
}

// tell logs the warnings.
func (c *Credentials) tell(log *slog.Logger) {
	if log == nil {
		return
	}
	for _, w := range c.warnings {
		log.Warn("credentials need attention", "reason", w)
	}
}

// load reads and checks the files; keyLog is used if it is open already.
func load(cfg Config, keyLog io.Writer) (*Credentials, error) {
	now := cfg.now()
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	c := &Credentials{serverName: cfg.ServerName}
	var err error
	if c.allow, err = ParsePatterns(cfg.Allow); err != nil {
		return nil, err
	}
	if cfg.CertFile != "" {
		if err := c.loadCertificate(cfg.CertFile, cfg.KeyFile, now); err != nil {
			return nil, err
		}
		if err := c.loadRoots(cfg.CAFile, now); err != nil {
			return nil, err
		}
	}
	if cfg.PSKFile != "" {
		if err := c.loadPSKs(cfg.PSKFile, cfg.PSKIdentity); err != nil {
			return nil, err
		}
	}
	if c.keyLog = keyLog; keyLog == nil && cfg.KeyLogFile != "" {
		if c.keyLog, err = openKeyLog(cfg.KeyLogFile); err != nil {
			return nil, err
		}
		c.warn("key log is on: who reads %s can decrypt all sessions", cfg.KeyLogFile)
	}
	c.seal()
	return c, nil
}

// howTo tells how to come by certificates.
const howTo = "make some: collector pki init DIR && collector pki issue DIR NAME; then pass --cert DIR/NAME.pem --key DIR/NAME-key.pem --ca DIR/ca.pem"

// complete says what is missing before any file is read.
func (cfg Config) complete() error {
	switch {
	case cfg.CertFile == "" && cfg.PSKFile == "" && (cfg.KeyFile != "" || cfg.CAFile != ""):
		return &Error{Subject: "credentials", Reason: "no certificate (--cert): both ends prove who they are", hint: howTo}
	case cfg.CertFile == "" && (cfg.KeyFile != "" || cfg.CAFile != ""):
		return &Error{Subject: "credentials", Reason: "--key and --ca mean nothing without --cert", hint: howTo}
	case cfg.CertFile == "" && cfg.PSKFile == "" && cfg.PSKIdentity != "":
		return &Error{Subject: "credentials", Reason: "--psk-identity without --psk-file", hint: "the file has lines IDENTITY:HEXKEY"}
	case cfg.CertFile == "" && cfg.PSKFile == "":
		return &Error{Subject: "credentials", Reason: "a secure transport needs a certificate or a pre-shared key, and there is neither", hint: howTo}
	case cfg.CertFile != "" && cfg.CAFile == "":
		return &Error{Subject: "credentials", Reason: "no authority (--ca) to verify peers by", hint: howTo}
	}
	return nil
}

// Error says what is wrong with which file or setting.
type Error struct {
	Subject string // what it is about: a file, a peer's certificate
	Reason  string
	Err     error // may be nil
	hint    string
}

func (e *Error) Error() string {
	s := e.Subject + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Hint tells how to put it right; empty if there is nothing to say.
func (e *Error) Hint() string { return e.hint }

func (c *Credentials) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// Warnings are what works but should be looked at.
func (c *Credentials) Warnings() []string { return slices.Clone(c.warnings) }

// HasCertificate tells whether Certificate and Roots hold anything.
func (c *Credentials) HasCertificate() bool { return len(c.cert.Certificate) > 0 }

// Certificate is the own certificate with its chain and key.
func (c *Credentials) Certificate() tls.Certificate { return c.cert }

// Roots are the authorities trusted; nil without certificates.
func (c *Credentials) Roots() *x509.CertPool { return c.roots }

// ServerName is the name a collector must prove when the endpoint's is not to
// be used, else empty.
func (c *Credentials) ServerName() string { return c.serverName }

// KeyLog takes session secrets in NSS format, one line a Write; nil if off.
func (c *Credentials) KeyLog() io.Writer { return c.keyLog }
