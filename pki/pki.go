// Package pki makes the certificates that exporters and collectors prove
// themselves with: one authority and, of it, certificates for hosts. Keys are
// EC P-256. It is meant for whoever has no authority of their own; there is no
// revocation, so keep validity short where that matters.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files of an authority in its directory.
const (
	CAFile    = "ca.pem"
	CAKeyFile = "ca-key.pem"
)

const (
	// DefaultCAValidity is how long an authority lasts.
	DefaultCAValidity = 10 * 365 * 24 * time.Hour
	// DefaultValidity is how long a host's certificate lasts.
	DefaultValidity = 398 * 24 * time.Hour
	// backdate forgives clocks that are behind the issuer's.
	backdate = time.Hour
	maxSANs  = 100
)

// Options change what is made; the zero value works.
type Options struct {
	// Validity: zero means DefaultCAValidity or DefaultValidity. A leaf never
	// outlives its authority.
	Validity time.Duration
	// CommonName of the authority; empty: "IPFIX CA".
	CommonName string
	// Overwrite replaces files that exist.
	Overwrite bool
	// Now is the time of issue; zero: the clock's. With it, certificates
	// that have expired can be made for tests.
	Now time.Time
}

func (o Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// Error says what could not be made and why.
type Error struct {
	What, Reason string
	hint         string
}

func (e *Error) Error() string { return e.What + ": " + e.Reason }

// Hint tells how to go on; empty if there is nothing to say.
func (e *Error) Hint() string { return e.hint }

// Init makes an authority: dir/ca.pem and dir/ca-key.pem. It makes dir, for
// its owner only, if that is missing.
func Init(dir string, o Options) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fileError("authority", err)
	}
	if err := absent(o, dir, CAFile, CAKeyFile); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	name := o.CommonName
	if name == "" {
		name = "IPFIX CA"
	}
	template, err := newTemplate(name, o, DefaultCAValidity)
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	// It issues hosts only, no further authorities.
	template.MaxPathLen, template.MaxPathLenZero = 0, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if template.SubjectKeyId, err = keyID(key); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	return writePair(filepath.Join(dir, CAKeyFile), key, filepath.Join(dir, CAFile), der)
}

// Issue makes a certificate of dir's authority: dir/NAME.pem and
// dir/NAME-key.pem. Its names are name and sans, each a DNS name or an
// address. It is good for both ends, exporter and collector.
func Issue(dir, name string, sans []string, o Options) error {
	if err := checkName(name); err != nil {
		return err
	}
	ca, caKey, err := loadAuthority(dir, o.now())
	if err != nil {
		return err
	}
	file := FileName(name)
	certFile, keyFile := file+".pem", file+"-key.pem"
	if err := absent(o, dir, certFile, keyFile); err != nil {
		return err
	}
	template, err := newTemplate(name, o, DefaultValidity)
	if err != nil {
		return err
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	if err := addSANs(template, append([]string{name}, sans...)); err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	if template.SubjectKeyId, err = keyID(key); err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("certificate for %s: %w", name, err)
	}
	return writePair(filepath.Join(dir, keyFile), key, filepath.Join(dir, certFile), der)
}

// FileName is what a certificate's files are called, without their endings:
// its name, where ':' of an address and '*' of a wildcard become '_'.
func FileName(name string) string {
	return strings.NewReplacer(":", "_", "*", "_", "%", "_").Replace(name)
}

// checkName holds the name to what can be a file's and a SAN.
func checkName(name string) error {
	if FileName(name) == "ca" || strings.HasSuffix(name, "-key") {
		return &Error{What: fmt.Sprintf("name %q", name), Reason: "its files would collide with others", hint: "choose another name"}
	}
	return checkSAN(name)
}

func checkSAN(name string) error {
	if _, err := netip.ParseAddr(name); err == nil && !strings.Contains(name, "%") {
		return nil
	}
	why := ""
	switch labels := strings.Split(name, "."); {
	case name == "" || len(name) > 253:
		why = "empty or longer than 253 octets"
	case strings.Trim(name, "0123456789.") == "":
		why = "neither a name nor an IPv4 address"
	default:
		if labels[0] == "*" && len(labels) > 1 {
			labels = labels[1:]
		}
		for _, l := range labels {
			if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
				strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
				why = "neither a DNS name nor an address"
			}
		}
	}
	if why == "" {
		return nil
	}
	return &Error{What: fmt.Sprintf("name %q", name), Reason: why, hint: "for example router1.pop1.example or 192.0.2.1"}
}

func addSANs(template *x509.Certificate, names []string) error {
	if len(names) > maxSANs {
		return &Error{What: "certificate", Reason: fmt.Sprintf("more than %d names", maxSANs)}
	}
	for _, name := range names {
		if err := checkSAN(name); err != nil {
			return err
		}
		if a, err := netip.ParseAddr(name); err == nil {
			ip := net.IP(a.Unmap().AsSlice())
			if !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
				template.IPAddresses = append(template.IPAddresses, ip)
			}
		} else if name = strings.ToLower(name); !slices.Contains(template.DNSNames, name) {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return nil
}

func newTemplate(commonName string, o Options, validity time.Duration) (*x509.Certificate, error) {
	if o.Validity < 0 {
		return nil, &Error{What: "validity", Reason: "negative"}
	}
	if o.Validity > 0 {
		validity = o.Validity
	}
	// 159 random bits: positive, and within 20 octets (RFC 5280, Section
	// 4.1.2.2).
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, err
	}
	if len(commonName) > 64 {
		commonName = commonName[:64] // RFC 5280, Appendix A: ub-common-name
	}
	now := o.now()
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(validity),
	}, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// keyID is a hash of the public key (RFC 7093, Section 2, method 1).
func keyID(key *ecdsa.PrivateKey) ([]byte, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

// fileError words a file's error without repeating its operation.
func fileError(what string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s %s: %w", what, pe.Path, pe.Err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// pemKey writes a key as PKCS #8.
func pemKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
