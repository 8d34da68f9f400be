package credentials

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Role is what the peer is, which decides what its certificate must be good
// for.
type Role uint8

const (
	// PeerIsExporter asks for a certificate that is good for clients, with a
	// name that is allowed.
	PeerIsExporter Role = iota
	// PeerIsCollector asks for one that is good for servers and bears the name
	// dialled.
	PeerIsCollector
)

func (r Role) String() string {
	if r == PeerIsCollector {
		return "collector"
	}
	return "exporter"
}

const (
	// maxChain bounds the certificates a peer may present.
	maxChain = 8
	// maxSANs bounds the names looked at in one.
	maxSANs = 256
)

// VerifyPeer judges the certificates a peer presented, its own first, in DER.
// It returns the identity the peer has proven: for a collector the name that
// was dialled, for an exporter the first of its names that is allowed. Names
// come from subjectAltName only (RFC 7011, Section 11.3; RFC 6125). For
// exporters name is not used.
func (c *Credentials) VerifyPeer(chain [][]byte, role Role, name string, now time.Time) (identity string, err error) {
	leaf, intermediates, err := parseChain(chain, role)
	if err != nil {
		return "", err
	}
	refuse := func(reason, hint string, err error) error {
		return &Error{Subject: fmt.Sprintf("%s's certificate (subject %s, issuer %s)", role, show(leaf.Subject.String()), show(leaf.Issuer.String())),
			Reason: reason, Err: err, hint: hint}
	}
	// The clearest reasons first: a chain's verification would only give the
	// first obstacle it meets.
	if now.After(leaf.NotAfter) {
		return "", refuse("expired on "+leaf.NotAfter.UTC().Format(time.RFC3339), "issue a new one: collector pki issue --force DIR NAME; by the clock of this host it is "+now.UTC().Format(time.RFC3339), nil)
	}
	if now.Before(leaf.NotBefore) {
		return "", refuse("not valid before "+leaf.NotBefore.UTC().Format(time.RFC3339), "is the clock right? by that of this host it is "+now.UTC().Format(time.RFC3339), nil)
	}
	if c.roots == nil {
		return "", refuse("there is no authority to verify it by", howTo, nil)
	}
	usage, usageName := x509.ExtKeyUsageClientAuth, "clientAuth"
	if role == PeerIsCollector {
		usage, usageName = x509.ExtKeyUsageServerAuth, "serverAuth"
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return "", refuse(verifyReason(err, usageName), verifyHint(err), nil)
	}
	if role == PeerIsCollector {
		if identity, err = collectorIdentity(leaf, name); err != nil {
			return "", refuse("not for "+show(name),
				"write one of its names in the URL, or --server-name NAME; or issue one for this name: collector pki issue DIR NAME SAN…", err)
		}
		return identity, nil
	}
	names := identities(leaf)
	for _, name := range names {
		if c.allowed(name) {
			return name, nil
		}
	}
	if len(names) == 0 {
		return "", refuse("no usable name in subjectAltName", "issue one with a name: collector pki issue DIR NAME", nil)
	}
	return "", refuse("no --allow pattern matches "+show(strings.Join(names, ", ")), "", nil)
}

func parseChain(chain [][]byte, role Role) (*x509.Certificate, *x509.CertPool, error) {
	if len(chain) == 0 {
		return nil, nil, &Error{Subject: role.String(), Reason: "presented no certificate"}
	}
	if len(chain) > maxChain {
		return nil, nil, &Error{Subject: role.String(), Reason: fmt.Sprintf("presented %d certificates, more than %d", len(chain), maxChain)}
	}
	intermediates := x509.NewCertPool()
	var leaf *x509.Certificate
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, &Error{Subject: fmt.Sprintf("%s's certificate %d", role, i+1), Reason: "cannot be read", Err: err}
		}
		if i == 0 {
			leaf = cert
		} else {
			intermediates.AddCert(cert)
		}
	}
	return leaf, intermediates, nil
}

// verifyReason words what crypto/x509 found.
func verifyReason(err error, usage string) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "not issued by an authority in --ca"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch e.Reason {
		case x509.IncompatibleUsage:
			return "its extended key usage lacks " + usage
		case x509.Expired:
			return fmt.Sprintf("its issuer's certificate (%s) is not valid now (from %s to %s)", show(e.Cert.Subject.String()),
				e.Cert.NotBefore.UTC().Format(time.RFC3339), e.Cert.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return show(strings.TrimPrefix(err.Error(), "x509: "))
}

func verifyHint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "both ends need certificates of authorities the other trusts"
	}
	return ""
}

// collectorIdentity holds the certificate against the name that was dialled.
func collectorIdentity(leaf *x509.Certificate, name string) (string, error) {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "" {
		return "", errors.New("no name was given to verify it by")
	}
	host := name
	if a, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		// A zone means something on this host only.
		name = a.Unmap().WithZone("").String()
		host = "[" + name + "]" // so that only addresses are compared
	}
	if err := leaf.VerifyHostname(host); err != nil {
		if names := identities(leaf); len(names) > 0 {
			return "", fmt.Errorf("it is for %s", show(strings.Join(names, ", ")))
		}
		return "", errors.New("it has no names in subjectAltName")
	}
	return name, nil
}

// identities are the names of a certificate that can be somebody's: DNS names
// and addresses. Wildcards are everybody's, and what is no host name could
// mislead who reads or files it.
func identities(leaf *x509.Certificate) []string {
	var names []string
	for _, name := range leaf.DNSNames[:min(len(leaf.DNSNames), maxSANs)] {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if hostName(name) {
			names = append(names, name)
		}
	}
	for _, ip := range leaf.IPAddresses[:min(len(leaf.IPAddresses), maxSANs)] {
		if a, ok := netip.AddrFromSlice(ip); ok {
			names = append(names, a.Unmap().String())
		}
	}
	return names
}

func hostName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && !digitsOnly(s)
}

// digitsOnly finds names that could be taken for an IPv4 address.
func digitsOnly(s string) bool { return strings.Trim(s, "0123456789.") == "" }

// show keeps what a peer sent short and on one line.
func show(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
