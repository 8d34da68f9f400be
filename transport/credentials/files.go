package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxFile bounds a PEM or PSK file: thousands of authorities fit.
	maxFile = 4 << 20
	// expirySoon is when an end of validity becomes worth a warning.
	expirySoon = 14 * 24 * time.Hour
)

// readFile reads a whole file of bounded size.
func readFile(what, name string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, &Error{Subject: what + " " + name, Reason: reason(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, &Error{Subject: what + " " + name, Reason: reason(err)}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, &Error{Subject: what + " " + name, Reason: reason(err)}
	}
	if len(b) > maxFile {
		return nil, nil, &Error{Subject: what + " " + name, Reason: fmt.Sprintf("larger than %d MiB", maxFile>>20)}
	}
	return b, info, nil
}

// reason is a file error without the path, which stands before it.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// warnMode warns of a secret that others may read.
func (c *Credentials) warnMode(what, name string, info fs.FileInfo) {
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		c.warn("%s %s has mode %04o: others may read it (chmod 600 %s)", what, name, info.Mode().Perm(), name)
	}
}

func (c *Credentials) loadCertificate(certFile, keyFile string, now time.Time) error {
	data, info, err := readFile("certificate", certFile)
	if err != nil {
		return err
	}
	certs, err := parseCertificates("certificate", certFile, data)
	if err != nil {
		return err
	}
	keyData := data
	if keyFile == "" {
		keyFile = certFile
	} else if keyData, info, err = readFile("key", keyFile); err != nil {
		return err
	}
	c.warnMode("key", keyFile, info)
	key, err := parseKey(keyFile, keyData)
	if e, ok := errors.AsType[*Error](err); ok && keyFile == certFile && e.Reason == noKey {
		e.hint = "its key is in another file? --key FILE"
	}
	if err != nil {
		return err
	}
	leaf := certs[0]
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return &Error{Subject: "key " + keyFile, Reason: "does not belong to the certificate in " + certFile,
			hint: "the first certificate in the file must be the one issued for the key"}
	}
	for _, cert := range certs {
		c.cert.Certificate = append(c.cert.Certificate, cert.Raw)
	}
	c.cert.PrivateKey, c.cert.Leaf, c.certName = key, leaf, "certificate "+certFile
	// One that has expired is of no use to anybody. One that is not valid yet
	// is only told of: the clock of a router that starts may not be set.
	if now.After(leaf.NotAfter) {
		return &Error{Subject: c.certName, Reason: "expired on " + leaf.NotAfter.UTC().Format(time.RFC3339),
			hint: "issue a new one: collector pki issue --force DIR NAME; by the clock of this host it is " + now.UTC().Format(time.RFC3339)}
	}
	if w := c.expiry(now); w != "" {
		c.warn("%s", w)
	}
	return nil
}

func (c *Credentials) loadRoots(name string, now time.Time) error {
	data, _, err := readFile("CA", name)
	if err != nil {
		return err
	}
	certs, err := parseCertificates("CA", name, data)
	if err != nil {
		return err
	}
	c.roots = x509.NewCertPool()
	for _, cert := range certs {
		c.roots.AddCert(cert)
		c.authorities = append(c.authorities, cert.Raw)
		if now.After(cert.NotAfter) {
			c.warn("CA %s: %s expired on %s", name, cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// parseCertificates reads all certificates of a PEM file; keys beside them are
// passed over. Errors call it what it is for.
func parseCertificates(what, name string, data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for n := 1; ; n++ {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{Subject: what + " " + name, Reason: fmt.Sprintf("PEM block %d", n), Err: err}
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, &Error{Subject: what + " " + name, Reason: "no certificate in it",
			hint: "a PEM file is wanted (-----BEGIN CERTIFICATE-----); for DER: openssl x509 -inform DER -in " + name + " -out NAME.pem"}
	}
	return certs, nil
}

const noKey = "no private key in it"

// parseKey reads the first private key of a PEM file.
func parseKey(name string, data []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, &Error{Subject: "key " + name, Reason: noKey, hint: "a PEM file is wanted (-----BEGIN PRIVATE KEY-----)"}
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, &Error{Subject: "key " + name, Reason: "is encrypted, and nobody is there to enter a passphrase",
				hint: "decrypt it: openssl pkey -in " + name + " -out KEY.pem && chmod 600 KEY.pem"}
		}
		key, err := parseDER(block)
		if err != nil {
			return nil, &Error{Subject: "key " + name, Reason: "bad " + block.Type, Err: err}
		}
		return key, nil
	}
}

func parseDER(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("%T cannot sign", key)
}

// openKeyLog opens the file for appending, for nobody else to read.
func openKeyLog(name string) (io.Writer, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Error{Subject: "key log " + name, Reason: reason(err)}
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			_ = f.Close()
			return nil, &Error{Subject: "key log " + name, Reason: "others may read it, and that cannot be changed: " + reason(err)}
		}
	}
	return &lockedWriter{w: f}, nil
}

// lockedWriter keeps lines of several sessions whole.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
