package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustIssue(t *testing.T, name string, sans []string, o Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := Init(dir, o); err != nil {
		t.Fatal(err)
	}
	if err := Issue(dir, name, sans, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	der, err := readBlock(path, "CERTIFICATE")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// RFC 7093, Section 2, method 1: a key's identifier is 160 bits of the SHA-256 of
// the public key's bits as they stand in the certificate; what was issued names
// its authority's (RFC 5280, Section 4.2.1.1).
func TestKeyIDs_RFC7093_2(t *testing.T) {
	dir := mustIssue(t, "r1.example", nil, Options{})
	ca, leaf := readCert(t, filepath.Join(dir, CAFile)), readCert(t, filepath.Join(dir, "r1.example.pem"))
	for _, c := range []*x509.Certificate{ca, leaf} {
		var key struct {
			Algorithm asn1.RawValue
			Bits      asn1.BitString
		}
		if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &key); err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(key.Bits.Bytes); !bytes.Equal(c.SubjectKeyId, sum[:20]) {
			t.Errorf("%v: key id %x, want %x", c.Subject, c.SubjectKeyId, sum[:20])
		}
		if !bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId) && c != ca {
			t.Errorf("issued by %x, which is %x", c.AuthorityKeyId, ca.SubjectKeyId)
		}
	}
}

func TestIssue(t *testing.T) {
	dir := mustIssue(t, "R1.pop1.example", []string{"192.0.2.1", "2001:db8::1", "r1", "r1"}, Options{})
	ca, leaf := readCert(t, filepath.Join(dir, CAFile)), readCert(t, filepath.Join(dir, "R1.pop1.example.pem"))
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		for _, name := range []string{"r1.pop1.example", "r1", "192.0.2.1", "2001:db8::1"} {
			if err := leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
	if len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 2 {
		t.Errorf("names %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if leaf.SerialNumber.BitLen() < 100 || leaf.SerialNumber.Cmp(ca.SerialNumber) == 0 {
		t.Errorf("serial number %v", leaf.SerialNumber)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

// openssl judges independently of crypto/x509.
func TestIssue_opensslAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := mustIssue(t, "c.example", []string{"192.0.2.1", "2001:db8::1"}, Options{})
	ca, leaf := filepath.Join(dir, CAFile), filepath.Join(dir, "c.example.pem")
	run := func(want string, args ...string) string {
		t.Helper()
		out, err := exec.Command(openssl, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("OK", "verify", "-x509_strict", "-CAfile", ca, "-purpose", "sslserver", "-verify_hostname", "c.example", leaf)
	run("OK", "verify", "-x509_strict", "-CAfile", ca, "-purpose", "sslclient", "-verify_ip", "2001:db8::1", leaf)
	text := run("Signature Algorithm: ecdsa-with-SHA256", "x509", "-in", leaf, "-noout", "-text")
	for _, want := range []string{
		"ASN1 OID: prime256v1", "CA:FALSE", "Digital Signature", "TLS Web Client Authentication", "TLS Web Server Authentication",
		"DNS:c.example", "IP Address:192.0.2.1", "IP Address:2001:DB8:0:0:0:0:0:1", "Subject: CN = c.example", "Issuer: CN = IPFIX CA",
		"Authority Key Identifier", "Subject Key Identifier",
	} {
		if !strings.Contains(text, want) && !strings.Contains(strings.ReplaceAll(text, "CN=", "CN = "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	caText := run("CA:TRUE, pathlen:0", "x509", "-in", ca, "-noout", "-text")
	if !strings.Contains(caText, "Certificate Sign") {
		t.Error(caText)
	}
	run("Key is valid", "pkey", "-in", filepath.Join(dir, "c.example-key.pem"), "-check", "-noout")
}

func TestValidity(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := mustIssue(t, "a", nil, Options{Now: now, Validity: 48 * time.Hour})
	leaf := readCert(t, filepath.Join(dir, "a.pem"))
	if !leaf.NotAfter.Equal(now.Add(48*time.Hour)) || !leaf.NotBefore.Equal(now.Add(-backdate)) {
		t.Errorf("valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	if err := Issue(dir, "b", nil, Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	if leaf := readCert(t, filepath.Join(dir, "b.pem")); !leaf.NotAfter.Equal(now.Add(48 * time.Hour)) {
		t.Errorf("outlives its authority: %v", leaf.NotAfter)
	}
	err := Issue(dir, "c", nil, Options{Now: now.Add(48 * time.Hour)})
	if err == nil || !strings.Contains(err.Error(), "expired on 2026-01-03T00:00:00Z") {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsReplacedUnasked(t *testing.T) {
	dir := mustIssue(t, "a", nil, Options{})
	before, _ := os.ReadFile(filepath.Join(dir, CAKeyFile))
	for name, f := range map[string]func(Options) error{
		"Init":  func(o Options) error { return Init(dir, o) },
		"Issue": func(o Options) error { return Issue(dir, "a", nil, o) },
	} {
		err := f(Options{})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Reason != "exists" || e.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err := f(Options{Overwrite: true}); err != nil {
			t.Errorf("%s, told to: %v", name, err)
		}
	}
	after, _ := os.ReadFile(filepath.Join(dir, CAKeyFile))
	if string(before) == string(after) {
		t.Error("told to replace, it did not")
	}
}

func TestIssue_errors(t *testing.T) {
	dir := mustIssue(t, "a", nil, Options{})
	other := mustIssue(t, "a", nil, Options{})
	otherKey, _ := os.ReadFile(filepath.Join(other, CAKeyFile))
	mixed := mustIssue(t, "a", nil, Options{})
	if err := os.WriteFile(filepath.Join(mixed, CAKeyFile), otherKey, 0o600); err != nil {
		t.Fatal(err)
	}
	garbled := mustIssue(t, "a", nil, Options{})
	if err := os.WriteFile(filepath.Join(garbled, CAFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir, name string
		sans      []string
		want      string
	}{
		{t.TempDir(), "a", nil, "ca.pem: is missing"},
		{mixed, "b", nil, "does not belong to"},
		{garbled, "b", nil, "no PEM block CERTIFICATE"},
		{dir, "", nil, "empty"},
		{dir, "ca", nil, "collide"},
		{dir, "a-key", nil, "collide"},
		{dir, "../x", nil, "neither a DNS name nor an address"},
		{dir, "a b", nil, "neither a DNS name"},
		{dir, "-a", nil, "neither a DNS name"},
		{dir, "10.0.0.300", nil, "neither a name nor an IPv4 address"},
		{dir, "b", []string{"fe80::1%eth0"}, "neither a DNS name nor an address"},
		{dir, "b", []string{"x..y"}, "neither a DNS name"},
		{dir, "b", make([]string, maxSANs), "more than 100 names"},
	} {
		if err := Issue(tt.dir, tt.name, tt.sans, Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q %.3q: got %v, want %q", tt.name, tt.sans, err, tt.want)
		}
	}
	if err := Issue(dir, "2001:db8::7", nil, Options{}); err != nil {
		t.Error(err)
	} else if leaf := readCert(t, filepath.Join(dir, "2001_db8__7.pem")); len(leaf.IPAddresses) != 1 {
		t.Errorf("names %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if err := Init("/dev/null/x", Options{}); err == nil {
		t.Error("made an authority in a device")
	}
}
