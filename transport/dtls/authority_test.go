package dtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/transport/credentials"
)

// authority issues certificates into files, as credentials reads them.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), serial: 1}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: epochStart.Add(-time.Hour), NotAfter: epochStart.Add(1e6 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.ca(), "CERTIFICATE", der)
	return a
}

// epochStart lies before the clock of a synctest bubble and before today.
var epochStart = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)

func (a *authority) ca() string { return filepath.Join(a.dir, "ca.pem") }

func writePEM(t testing.TB, name, typ string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME-key.pem.
func (a *authority) issue(t testing.TB, name string, edit func(*x509.Certificate), rsaKey bool) (cert, key string) {
	t.Helper()
	a.serial++
	var priv, pub any
	if rsaKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		priv, pub = k, k.Public()
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		priv, pub = k, k.Public()
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   epochStart.Add(-time.Hour), NotAfter: epochStart.Add(1e6 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(tpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+"-key.pem")
	writePEM(t, cert, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", kder)
	return cert, key
}

// creds issues a certificate and loads it.
func (a *authority) creds(t testing.TB, name string, edit func(*credentials.Config), cert func(*x509.Certificate)) *credentials.Credentials {
	t.Helper()
	c, k := a.issue(t, name, cert, false)
	cfg := credentials.Config{CertFile: c, KeyFile: k, CAFile: a.ca()}
	if edit != nil {
		edit(&cfg)
	}
	return load(t, cfg)
}

func load(t testing.TB, cfg credentials.Config) *credentials.Credentials {
	t.Helper()
	cfg.Now = func() time.Time { return epochStart } // nothing has expired yet
	got, err := credentials.Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pskFile holds lines identity:hexkey.
func pskFile(t testing.TB, lines string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "psk")
	if err := os.WriteFile(name, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
