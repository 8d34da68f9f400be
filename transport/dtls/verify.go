package dtls

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"time"

	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

var (
	errNoCertificate    = errors.New("peer sent no certificate")
	errWrongPSK         = errors.New("peer's Finished does not open: wrong pre-shared key")
	errUnknownPSK       = errors.New("unknown pre-shared key identity")
	errHeartbeatMode    = errors.New("peer's heartbeat extension has an illegal mode")
	errContrary         = errors.New("two answers to one hello contradict each other")
	errStalled          = errors.New("the handshake stalls")
	errTimeout          = errors.New("handshake timed out")
	errOtherCredentials = errors.New("session was made with other credentials")
	errSuperseded       = errors.New("replaced by a newer handshake from the same address")
)

// garbledError is how a handshake fails whose messages make no sense together.
// No honest peer's do; another attempt may be let alone.
type garbledError struct{ err error }

func (e *garbledError) Error() string { return e.err.Error() }
func (e *garbledError) Unwrap() error { return e.err }

// refusal is why this side turned its peer away, with the alert that says so.
type refusal struct {
	err   error
	alert uint8
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// refuse chooses the alert for a fault found in the peer's credentials.
func refuse(err error) *refusal {
	r := &refusal{err: err, alert: alertHandshakeFailure}
	switch {
	case errors.Is(err, errHeartbeatMode):
		r.alert = alertIllegalParameter
	case errors.Is(err, errWrongPSK):
		r.alert = alertDecryptError
	case errors.Is(err, errUnknownPSK):
		r.alert = alertUnknownPSKIdentity
	}
	return r
}

// refuseChain chooses the alert for a chain that the credentials refused, so
// that the peer's operator learns more than that something is bad.
func refuseChain(err error, chain [][]byte, roots *x509.CertPool, now time.Time) *refusal {
	r := &refusal{err: err, alert: alertBadCertificate}
	leaf, perr := x509.ParseCertificate(chain[0])
	if perr != nil {
		return r
	}
	between := x509.NewCertPool()
	for _, der := range chain[1:min(len(chain), 8)] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, verr := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	unknown := x509.UnknownAuthorityError{}
	switch {
	case now.After(leaf.NotAfter) || now.Before(leaf.NotBefore):
		r.alert = alertCertificateExpired
	case errors.As(verr, &unknown):
		r.alert = alertUnknownCA
	case verr == nil:
		r.alert = alertAccessDenied // valid, but not for this
	}
	return r
}

// checkChain asks the credentials about a peer's certificates.
func (d *driver) checkChain(chain [][]byte, now time.Time) (identity string, err error) {
	role, name := credentials.PeerIsExporter, ""
	if d.client {
		role, name = credentials.PeerIsCollector, d.cfg.ServerName
	}
	if len(chain) == 0 {
		return "", refuse(errNoCertificate)
	}
	if identity, err = d.creds.VerifyPeer(chain, role, name, now); err != nil {
		return "", refuseChain(err, chain, d.creds.Roots(), now)
	}
	return identity, nil
}

// checkStored looks again at what authenticated a session to be resumed.
func (d *driver) checkStored(st stored) error {
	s := st.session
	suite := record.Suite(s.CipherSuiteID)
	// Who was authenticated by what we no longer are, or by an authority that
	// we no longer trust, is to prove itself anew.
	if st.made != d.binding(suite) {
		return errOtherCredentials
	}
	if suite.PSK() {
		if d.client {
			return nil // pion compares the key
		}
		return d.creds.AllowPSK(string(s.IdentityHint))
	}
	_, err := d.checkChain(s.PeerCertificates, time.Now())
	return err
}

// binding ties a session that can be resumed to what authenticated it on our
// side. pion itself compares pre-shared keys.
func (d *driver) binding(suite record.Suite) (b [sha256.Size]byte) {
	switch {
	case !suite.PSK():
		return d.creds.Fingerprint()
	case d.client:
		return sha256.Sum256([]byte(d.cfg.PSKIdentity))
	}
	return b
}
