package doctor

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// soon is when an end of validity is worth a warning.
const soon = 14 * 24 * time.Hour

// Role is whose credentials are looked at.
type Role uint8

// The roles: what a certificate has to be good for differs.
const (
	Exporter Role = iota
	Collector
)

// usage is what a certificate must be good for in a role.
func (r Role) usage() (x509.ExtKeyUsage, string) {
	if r == Collector {
		return x509.ExtKeyUsageServerAuth, "serverAuth"
	}
	return x509.ExtKeyUsageClientAuth, "clientAuth"
}

// Credentials looks at those of a process, in a section of their own: what Load
// made of the files, or why it refused them; nil: there are none. caFile is that
// of --ca, for its names.
func Credentials(r *Report, c *credentials.Credentials, err error, caFile string, role Role, now time.Time) {
	if err != nil || c != nil {
		inspect(r.Section("our credentials", false), c, err, caFile, role, now)
	}
}

func inspect(s *Section, c *credentials.Credentials, err error, caFile string, role Role, now time.Time) {
	if err != nil {
		s.Fail("credentials", transport.Hint(err), "%v", err)
		return
	}
	for _, w := range c.Warnings() {
		if !strings.HasPrefix(w, "certificate ") { // looked at below
			s.Warn("credentials", warningHint(w), "%s", w)
		}
	}
	if c.HasCertificate() {
		certificate(s, c, role, now)
		authorities(s, caFile, now)
	}
	switch {
	case !c.HasPSK():
	case role == Collector:
		s.OK("pre-shared keys", "read")
	case c.PSKIdentity() == "" && !c.HasCertificate():
		s.Fail("pre-shared keys", "name one: --psk-identity", "several identities, and none is chosen")
	case c.PSKIdentity() != "":
		s.OK("pre-shared keys", "we are %q", c.PSKIdentity())
	}
}

func warningHint(w string) string {
	if strings.Contains(w, "key log") {
		return "leave --keylog away when you have seen enough"
	}
	return ""
}

func certificate(s *Section, c *credentials.Credentials, role Role, now time.Time) {
	own := c.Certificate()
	leaf := own.Leaf
	validity(s, leaf, now)
	pool := x509.NewCertPool()
	for _, der := range own.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(cert)
		}
	}
	// At a time when it is valid: when it is not was said.
	at := now
	if at.After(leaf.NotAfter) || at.Before(leaf.NotBefore) {
		at = leaf.NotBefore.Add(time.Second)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: c.Roots(), Intermediates: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		s.Warn("chain", "the file of --cert must hold the intermediate certificates too; if the peers trust another authority than we do, all is well",
			"the authorities of --ca do not vouch for our own certificate (issuer %s)", leaf.Issuer)
	} else {
		s.OK("chain", "%d certificate(s) sent, issued by %s", len(own.Certificate), chains[0][len(chains[0])-1].Subject)
	}
	s.OK("key", "belongs to the certificate")
	if want, name := role.usage(); !good(leaf, want) {
		s.Fail("extended key usage", "issue one that is good for it: collector pki issue DIR NAME", "lacks %s, so peers refuse it", name)
	} else {
		s.OK("extended key usage", "good for %s", name)
	}
	if names := sans(leaf); len(names) == 0 {
		s.Fail("names", "issue one with names: collector pki issue DIR NAME [SAN…]", "none in subjectAltName, so peers refuse it")
	} else {
		s.OK("names", "%s", strings.Join(names, ", "))
	}
}

func validity(s *Section, cert *x509.Certificate, now time.Time) {
	from, until := cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339)
	const again = "issue a new one: collector pki issue --force DIR NAME; both programs take it up while they run"
	switch left := cert.NotAfter.Sub(now); {
	case left < 0:
		s.Fail("validity", again, "expired on %s; by this host's clock it is %s", until, now.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		s.Fail("validity", "is the clock right?", "not before %s; by this host's clock it is %s", from, now.UTC().Format(time.RFC3339))
	case left < soon:
		s.Warn("validity", again, "expires on %s, in %s", until, days(left))
	default:
		s.OK("validity", "until %s, %s from now", until, days(left))
	}
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// good tells whether a certificate may be used so; one that says nothing may.
func good(cert *x509.Certificate, want x509.ExtKeyUsage) bool {
	return len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 ||
		slices.Contains(cert.ExtKeyUsage, want) || slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func sans(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// maxShown bounds the authorities that are named.
const maxShown = 8

// authorities names whom we trust: the first thing to compare when the ends do
// not trust each other.
func authorities(s *Section, file string, now time.Time) {
	data, err := os.ReadFile(file)
	if err != nil {
		return // it was read before
	}
	var names []string
	for n := 0; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			continue
		}
		name := cert.Subject.String()
		if now.After(cert.NotAfter) {
			name += " (expired)"
		}
		names = append(names, name)
	}
	more := ""
	if len(names) > maxShown {
		more = fmt.Sprintf(" and %d more", len(names)-maxShown)
		names = names[:maxShown]
	}
	s.OK("authorities trusted", "%s%s", strings.Join(names, ", "), more)
}
