package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport/credentials"
)

// issue writes a certificate that is its own authority, and returns its file,
// which holds its key too.
func issue(t *testing.T, change func(*x509.Certificate)) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"exporter.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "cert.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})...)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func has(s *Section, status Status, step, saw string) bool {
	for _, f := range s.Findings {
		if f.Status == status && f.Step == step && strings.Contains(f.Saw, saw) {
			return true
		}
	}
	return false
}

func TestCredentials(t *testing.T) {
	now := time.Now()
	none := func(*x509.Certificate) {}
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		role   Role
		at     time.Time
		status Status
		step   string
		saw    string
	}{
		{"sound", none, Exporter, now, OK, "names", "exporter.example"},
		{"for exporters", none, Exporter, now, OK, "extended key usage", "clientAuth"},
		{"for collectors", none, Collector, now, OK, "extended key usage", "serverAuth"},
		{"whom we trust", none, Exporter, now, OK, "authorities trusted", "CN=test"},
		{"for servers only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, Exporter, now, Fail, "extended key usage", "lacks clientAuth"},
		{"for clients only", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, Collector, now, Fail, "extended key usage", "lacks serverAuth"},
		{"for everything", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, Exporter, now, OK, "extended key usage", ""},
		{"without names", func(c *x509.Certificate) { c.DNSNames = nil }, Exporter, now, Fail, "names", "none in subjectAltName"},
		{"nearly over", none, Exporter, now.Add(1000*time.Hour - 72*time.Hour), Warn, "validity", "expires on "},
		{"over", none, Exporter, now.Add(1001 * time.Hour), Fail, "validity", "expired on "},
		{"not yet", none, Exporter, now.Add(-2 * time.Hour), Fail, "validity", "not before "},
		{"long enough", none, Exporter, now, OK, "validity", "41 days from now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := issue(t, c.change)
			creds, err := credentials.Load(credentials.Config{CertFile: file, CAFile: file})
			if err != nil {
				t.Fatal(err)
			}
			s := &Section{Well: true}
			inspect(s, creds, nil, file, c.role, c.at)
			if !has(s, c.status, c.step, c.saw) || s.Well != (c.status != Fail) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Another authority than ours may have issued our certificate.
func TestCredentials_foreign(t *testing.T) {
	file := issue(t, func(*x509.Certificate) {})
	other := issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "other" })
	creds, err := credentials.Load(credentials.Config{CertFile: file, CAFile: other})
	if err != nil {
		t.Fatal(err)
	}
	s := &Section{Well: true}
	inspect(s, creds, nil, other, Exporter, time.Now())
	if !has(s, Warn, "chain", "do not vouch") || !has(s, OK, "authorities trusted", "CN=other") || !s.Well {
		t.Errorf("%+v", s)
	}
}

func TestCredentials_psk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "psk")
	if err := os.WriteFile(file, []byte("a:00112233445566778899aabbccddeeff\nb:00112233445566778899aabbccddeeff\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	creds, err := credentials.Load(credentials.Config{PSKFile: file})
	if err != nil {
		t.Fatal(err)
	}
	s := &Section{Well: true}
	inspect(s, creds, nil, "", Exporter, time.Now())
	if !has(s, Fail, "pre-shared keys", "none is chosen") || !has(s, Warn, "credentials", "others may read it") {
		t.Errorf("%+v", s)
	}
	if creds, err = credentials.Load(credentials.Config{PSKFile: file, PSKIdentity: "b"}); err != nil {
		t.Fatal(err)
	}
	s = &Section{Well: true}
	inspect(s, creds, nil, "", Exporter, time.Now())
	if !has(s, OK, "pre-shared keys", `we are "b"`) || !s.Well {
		t.Errorf("%+v", s)
	}
}

// Dir leaves nothing behind.
func TestDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil || os.Chmod(open, 0o755) != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir     string
		private bool
		status  Status
		saw     string
	}{
		{dir, false, OK, "can be written"},
		{filepath.Join(dir, "a", "b"), true, OK, "will be made in " + dir},
		{file, false, Fail, "is none"},
		{filepath.Join(file, "below"), false, Fail, ""},
		{open, true, Fail, "is open to others"},
		{open, false, OK, "can be written"},
		{"/proc/sys", false, Fail, "nothing can be written"},
	} {
		s := &Section{Well: true}
		Dir(s, "sink", c.dir, c.private)
		if len(s.Findings) != 1 || s.Findings[0].Status != c.status && s.Findings[0].Status != Warn || !strings.Contains(s.Findings[0].Saw, c.saw) {
			t.Errorf("%s: %+v", c.dir, s.Findings)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
