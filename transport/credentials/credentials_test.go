package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// authority issues certificates as the test wants them.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0)}
	a.cert = a.sign(t, template, template, a.key)
	return a
}

func (a *authority) sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

var bothUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}

func (a *authority) leaf(t testing.TB, key *ecdsa.PrivateKey, change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, ExtKeyUsage: bothUsages,
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(1, 0, 0), DNSNames: []string{"r1.pop1.example"}}
	if change != nil {
		change(template)
	}
	return a.sign(t, template, a.cert, key)
}

func write(t testing.TB, name string, mode os.FileMode, blocks ...*pem.Block) string {
	t.Helper()
	var b []byte
	for _, block := range blocks {
		b = append(b, pem.EncodeToMemory(block)...)
	}
	return writeBytes(t, name, mode, b)
}

func writeBytes(t testing.TB, name string, mode os.FileMode, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func certBlock(c *x509.Certificate) *pem.Block {
	return &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}
}

func keyBlock(t testing.TB, key *ecdsa.PrivateKey) *pem.Block {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pem.Block{Type: "PRIVATE KEY", Bytes: der}
}

// files writes a working set.
func files(t testing.TB) (Config, *authority) {
	ca, key := newAuthority(t, "test CA"), newKey(t)
	return Config{
		CertFile: write(t, "a.pem", 0o644, certBlock(ca.leaf(t, key, nil))),
		KeyFile:  write(t, "a-key.pem", 0o600, keyBlock(t, key)),
		CAFile:   write(t, "ca.pem", 0o644, certBlock(ca.cert)),
	}, ca
}

// loadAt loads as if it were then.
func loadAt(cfg Config, then time.Time) (*Credentials, error) {
	cfg.Now = func() time.Time { return then }
	return Load(cfg)
}

func TestLoad(t *testing.T) {
	cfg, _ := files(t)
	c, err := loadAt(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	if !c.HasCertificate() || c.Roots() == nil || c.Certificate().Leaf.DNSNames[0] != "r1.pop1.example" || c.Certificate().PrivateKey == nil {
		t.Errorf("incomplete: %+v", c)
	}
	if len(c.Warnings()) != 0 || c.KeyLog() != nil || c.HasPSK() {
		t.Errorf("warnings %v, key log %v, PSK %v", c.Warnings(), c.KeyLog(), c.HasPSK())
	}
	// Key and certificate may share a file.
	both, _ := os.ReadFile(cfg.KeyFile)
	cert, _ := os.ReadFile(cfg.CertFile)
	cfg.CertFile, cfg.KeyFile = writeBytes(t, "both.pem", 0o600, append(both, cert...)), ""
	if _, err := loadAt(cfg, now); err != nil {
		t.Errorf("key beside certificate: %v", err)
	}
}

func TestLoad_errors(t *testing.T) {
	good, ca := files(t)
	otherKey := write(t, "other.pem", 0o600, keyBlock(t, newKey(t)))
	for _, tt := range []struct {
		name         string
		cfg          Config
		reason, hint string
	}{
		{"nothing", Config{}, "needs a certificate or a pre-shared key", "collector pki init DIR && collector pki issue DIR NAME"},
		{"CA only", Config{CAFile: good.CAFile}, "no certificate (--cert)", "collector pki issue"},
		{"no CA", Config{CertFile: good.CertFile, KeyFile: good.KeyFile}, "no authority (--ca)", "pki init"},
		{"identity alone", Config{PSKIdentity: "a"}, "--psk-identity without --psk-file", "IDENTITY:HEXKEY"},
		{"missing file", Config{CertFile: "/nonexistent/x.pem", KeyFile: good.KeyFile, CAFile: good.CAFile}, "certificate /nonexistent/x.pem: no such file or directory", ""},
		{"directory", Config{CertFile: t.TempDir(), KeyFile: good.KeyFile, CAFile: good.CAFile}, "is a directory", ""},
		{"other key", Config{CertFile: good.CertFile, KeyFile: otherKey, CAFile: good.CAFile}, "does not belong to the certificate in " + good.CertFile, "first certificate"},
		{"no key in file", Config{CertFile: good.CertFile, CAFile: good.CAFile}, "no private key in it", "--key FILE"},
		{"key as certificate", Config{CertFile: good.KeyFile, KeyFile: good.KeyFile, CAFile: good.CAFile}, "no certificate in it", "openssl x509 -inform DER"},
		{"encrypted key", Config{CertFile: good.CertFile, KeyFile: write(t, "e.pem", 0o600, &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), CAFile: good.CAFile}, "is encrypted", "openssl pkey -in"},
		{"old encrypted key", Config{CertFile: good.CertFile, KeyFile: write(t, "e.pem", 0o600, &pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,00"}, Bytes: []byte{1}}), CAFile: good.CAFile}, "is encrypted", "openssl pkey"},
		{"garbled key", Config{CertFile: good.CertFile, KeyFile: write(t, "g.pem", 0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), CAFile: good.CAFile}, "bad PRIVATE KEY", ""},
		{"garbled CA", Config{CertFile: good.CertFile, KeyFile: good.KeyFile, CAFile: write(t, "g.pem", 0o644, certBlock(ca.cert), &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})}, "PEM block 2", ""},
		{"large file", Config{CertFile: writeBytes(t, "l.pem", 0o644, make([]byte, maxFile+1)), CAFile: good.CAFile}, "larger than 4 MiB", ""},
		{"bad pattern", Config{CertFile: good.CertFile, KeyFile: good.KeyFile, CAFile: good.CAFile, Allow: []string{"a..b"}}, "empty label", "*.pop1.example"},
		{"key log", Config{CertFile: good.CertFile, KeyFile: good.KeyFile, CAFile: good.CAFile, KeyLogFile: "/nonexistent/k"}, "key log /nonexistent/k: no such file", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadAt(tt.cfg, now)
			e, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(e.Error(), tt.reason) || !strings.Contains(e.Hint(), tt.hint) {
				t.Fatalf("got %v, want %q with hint %q", err, tt.reason, tt.hint)
			}
			if strings.Contains(e.Error()+e.Hint(), "\n") {
				t.Errorf("not one line: %q", e)
			}
		})
	}
}

func TestLoad_warnings(t *testing.T) {
	cfg, _ := files(t)
	for _, tt := range []struct {
		name string
		now  time.Time
		mode os.FileMode
		want string
	}{
		{"open key", now, 0o640, "has mode 0640: others may read it"},
		{"soon", now.AddDate(1, 0, -3), 0o600, "expires on 2027-06-01"},
		{"not yet", now.AddDate(0, -2, 0), 0o600, "not valid before 2026-05-01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.Chmod(cfg.KeyFile, tt.mode); err != nil {
				t.Fatal(err)
			}
			c, err := loadAt(cfg, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], tt.want) {
				t.Errorf("warnings %q, want one with %q", w, tt.want)
			}
		})
	}
}

// A certificate that has expired is refused with its date, and the clock's.
func TestLoad_expired(t *testing.T) {
	cfg, _ := files(t)
	_, err := loadAt(cfg, now.AddDate(2, 0, 0))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Error() != "certificate "+cfg.CertFile+": expired on 2027-06-01T12:00:00Z" || !strings.Contains(e.Hint(), "pki issue --force") || !strings.Contains(e.Hint(), "2028-06-01T12:00:00Z") {
		t.Errorf("got %v, %q", err, e.Hint())
	}
}

func TestLoad_keyLog(t *testing.T) {
	cfg, _ := files(t)
	cfg.KeyLogFile = writeBytes(t, "keys.log", 0o644, []byte("before\n"))
	c, err := loadAt(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.KeyLog().Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(cfg.KeyLogFile)
	info, _ := os.Stat(cfg.KeyLogFile)
	if string(b) != "before\nafter\n" || info.Mode().Perm() != 0o600 {
		t.Errorf("%q, mode %o", b, info.Mode().Perm())
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "decrypt") {
		t.Errorf("warnings %q", w)
	}
}

func TestVerifyPeer_RFC7011_11_3(t *testing.T) {
	ca, foreign, key := newAuthority(t, "our CA"), newAuthority(t, "foreign CA"), newKey(t)
	subKey := newKey(t)
	sub := &authority{key: subKey, cert: ca.leaf(t, subKey, func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.DNSNames, c.ExtKeyUsage = "sub CA", true, true, x509.KeyUsageCertSign, nil, nil
	})}
	plain := func(c *x509.Certificate) {}
	names := func(dns ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = dns }
	}
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	ips := func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = nil, []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")}
	}
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		by     *authority
		role   Role
		dialed string
		allow  []string
		want   string
		reason string
	}{
		{"exporter", plain, ca, PeerIsExporter, "", nil, "r1.pop1.example", ""},
		{"exporter, name not used", plain, ca, PeerIsExporter, "10.0.0.1", nil, "r1.pop1.example", ""},
		{"exporter allowed", plain, ca, PeerIsExporter, "", []string{"*.pop2.example", "*.pop1.example"}, "r1.pop1.example", ""},
		{"exporter, second name allowed", names("a.example", "b.pop1.example"), ca, PeerIsExporter, "", []string{"*.pop1.example"}, "b.pop1.example", ""},
		{"exporter not allowed", plain, ca, PeerIsExporter, "", []string{"*.example"}, "", "no --allow pattern matches r1.pop1.example"},
		{"exporter by address", ips, ca, PeerIsExporter, "", []string{"192.0.2.0/24"}, "192.0.2.7", ""},
		{"exporter by IPv6 prefix", ips, ca, PeerIsExporter, "", []string{"2001:db8::/32"}, "2001:db8::7", ""},
		{"exporter without names", names(), ca, PeerIsExporter, "", nil, "", "no usable name in subjectAltName"},
		{"exporter with wildcard only", names("*.example"), ca, PeerIsExporter, "", nil, "", "no usable name"},
		{"exporter with path as name", names("../../etc/passwd"), ca, PeerIsExporter, "", nil, "", "no usable name"},
		{"exporter's name is an address", names("10.0.0.1"), ca, PeerIsExporter, "", nil, "", "no usable name"},
		{"exporter for servers only", usage(x509.ExtKeyUsageServerAuth), ca, PeerIsExporter, "", nil, "", "lacks clientAuth"},
		{"exporter of a sub CA", plain, sub, PeerIsExporter, "", nil, "r1.pop1.example", ""},
		{"foreign exporter", plain, foreign, PeerIsExporter, "", nil, "", "issuer CN=foreign CA): not issued by an authority in --ca"},
		{"expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) }, ca, PeerIsExporter, "", nil, "", "expired on 2026-06-01T11:00:00Z"},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }, ca, PeerIsExporter, "", nil, "", "not valid before 2026-06-01T13:00:00Z"},
		{"collector", plain, ca, PeerIsCollector, "R1.pop1.example.", nil, "r1.pop1.example", ""},
		{"collector, allow not used", plain, ca, PeerIsCollector, "r1.pop1.example", []string{"x"}, "r1.pop1.example", ""},
		{"collector with wildcard", names("*.pop1.example"), ca, PeerIsCollector, "r7.pop1.example", nil, "r7.pop1.example", ""},
		{"collector by address", ips, ca, PeerIsCollector, "192.0.2.7", nil, "192.0.2.7", ""},
		{"collector by IPv6 address", ips, ca, PeerIsCollector, "2001:DB8:0::7%eth0", nil, "2001:db8::7", ""},
		{"collector's other address", ips, ca, PeerIsCollector, "192.0.2.8", nil, "", "not for 192.0.2.8: it is for 192.0.2.7, 2001:db8::7"},
		{"collector, name for an address", names("192.0.2.7"), ca, PeerIsCollector, "192.0.2.7", nil, "", "not for 192.0.2.7"},
		{"collector's other name", plain, ca, PeerIsCollector, "r2.pop1.example", nil, "", "not for r2.pop1.example: it is for r1.pop1.example"},
		{"collector, common name does not count", names(), ca, PeerIsCollector, "leaf", nil, "", "no names in subjectAltName"},
		{"collector for clients only", usage(x509.ExtKeyUsageClientAuth), ca, PeerIsCollector, "r1.pop1.example", nil, "", "lacks serverAuth"},
		{"collector, no name dialled", plain, ca, PeerIsCollector, "", nil, "", "no name was given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Credentials{roots: x509.NewCertPool()}
			c.roots.AddCert(ca.cert)
			var err error
			if c.allow, err = ParsePatterns(tt.allow); err != nil {
				t.Fatal(err)
			}
			chain := [][]byte{tt.by.leaf(t, key, tt.change).Raw}
			if tt.by == sub {
				chain = append(chain, sub.cert.Raw)
			}
			got, err := c.VerifyPeer(chain, tt.role, tt.dialed, now)
			if tt.reason == "" && (err != nil || got != tt.want) {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if tt.reason != "" && (err == nil || got != "" || !strings.Contains(err.Error(), tt.reason)) {
				t.Errorf("got %q, %v; want error %q", got, err, tt.reason)
			}
			if e, ok := errors.AsType[*Error](err); ok && strings.HasPrefix(tt.reason, "not for") && !strings.Contains(e.Hint(), "--server-name") {
				t.Errorf("hint %q", e.Hint())
			}
		})
	}
}

func TestVerifyPeer_hostileChains(t *testing.T) {
	ca := newAuthority(t, "CA")
	c := &Credentials{roots: x509.NewCertPool()}
	c.roots.AddCert(ca.cert)
	leaf := ca.leaf(t, newKey(t), nil).Raw
	for name, chain := range map[string][][]byte{
		"none":    nil,
		"empty":   {{}},
		"junk":    {[]byte("junk")},
		"cut":     {leaf[:len(leaf)/2]},
		"junk 2":  {leaf, []byte("junk")},
		"endless": {leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf, leaf},
	} {
		if _, err := c.VerifyPeer(chain, PeerIsExporter, "", now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
