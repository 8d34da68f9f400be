package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// absent makes sure that nothing is replaced unasked: a key that is gone
// cannot be had again.
func absent(o Options, dir string, names ...string) error {
	if o.Overwrite {
		return nil
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return &Error{What: path, Reason: "exists", hint: "give another directory or name, or ask for overwriting"}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fileError("file", err)
		}
	}
	return nil
}

// writePair writes key and certificate, both for the owner only; the key
// first, so that a certificate never stands there without it.
func writePair(keyFile string, key *ecdsa.PrivateKey, certFile string, der []byte) error {
	b, err := pemKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, b); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// writeFile writes a file beside and renames it, so that a full disk leaves no
// half of it and a link in its place is not followed.
func writeFile(path string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return fileError("file", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fileError("file", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("file %s: %w", path, err)
	}
	return nil
}

// loadAuthority reads and checks the authority of a directory.
func loadAuthority(dir string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, CAKeyFile)
	der, err := readBlock(certPath, "CERTIFICATE")
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("authority %s: %w", certPath, err)
	}
	if der, err = readBlock(keyPath, "PRIVATE KEY"); err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, nil, fmt.Errorf("authority's key %s: %w", keyPath, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	switch {
	case !ok:
		return nil, nil, &Error{What: keyPath, Reason: "not an EC key"}
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, nil, &Error{What: keyPath, Reason: "does not belong to " + certPath}
	case !cert.IsCA:
		return nil, nil, &Error{What: certPath, Reason: "is not an authority's certificate"}
	case !now.Before(cert.NotAfter):
		return nil, nil, &Error{What: certPath, Reason: "expired on " + cert.NotAfter.UTC().Format(time.RFC3339), hint: "make a new authority: collector pki init DIR"}
	}
	return cert, key, nil
}

func readBlock(path, typ string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{What: path, Reason: "is missing", hint: "make an authority first: collector pki init " + filepath.Dir(path)}
	}
	if err != nil {
		return nil, fileError("file", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != typ {
		return nil, &Error{What: path, Reason: "no PEM block " + typ}
	}
	return block.Bytes, nil
}
