package dtls

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/logging"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/dtls/record"
)

// pion makes the connection, configured so that we decide whom to trust.
func (d *driver) pion() (*pion.Conn, error) {
	d.custom = &pskKeys{}
	cfg := &pion.Config{
		ExtendedMasterSecret: pion.RequireExtendedMasterSecret,
		FlightInterval:       d.cfg.Retransmit,
		MTU:                  max(min(d.mtu-handshakeOverhead, maxHandshakeMTU), 256),
		LoggerFactory:        silent{},
		KeyLogWriter:         keyTap{d},
		CipherSuites:         []pion.CipherSuiteID{},
		// The chain is checked in verifyConnection, which also runs when a
		// session is resumed.
		InsecureSkipVerify: true,
		VerifyConnection:   d.verifyConnection,
	}
	if d.over != nil {
		// The largest fragment there is (RFC 6083, Section 3.2, MUST), and no
		// retransmission of ours (Section 3.5, MUST NOT).
		cfg.MTU = record.MaxContent - handshakeHeaderLen
		cfg.FlightInterval = never
		// SCTP's own cookie has shown that the client is where it says.
		cfg.InsecureSkipVerifyHello = true
	}
	for _, s := range d.cfg.Suites {
		if s == record.ECDHEPSKAES128GCM {
			cfg.CustomCipherSuites = func() []pion.CipherSuite { return []pion.CipherSuite{&pskSuite{d.custom}} }
			continue
		}
		cfg.CipherSuites = append(cfg.CipherSuites, pion.CipherSuiteID(s))
	}
	if (d.cache != nil || len(d.places) > 0) && d.cfg.SessionTTL > 0 {
		d.resume = &resumption{cache: d.cache, places: d.places, check: d.checkStored}
		cfg.SessionStore = d.resume
	}
	if d.client {
		return d.pionClient(cfg)
	}
	return d.pionServer(cfg)
}

func (d *driver) pionClient(cfg *pion.Config) (*pion.Conn, error) {
	if id := d.cfg.PSKIdentity; id != "" {
		cfg.PSKIdentityHint = []byte(id)
		cfg.PSK = func([]byte) ([]byte, error) { return d.presharedKey(id) }
	} else {
		cfg.CustomCipherSuites = nil
		if d.creds.HasCertificate() {
			// Whatever authorities the server names: a refusal says more than
			// that there was no certificate.
			cert := d.creds.Certificate()
			cfg.GetClientCertificate = func(*pion.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		cfg.ServerName = strings.TrimSuffix(d.cfg.ServerName, ".") // RFC 6066, Section 3: without the dot
	}
	if d.cfg.ConnectionID {
		// Of zero length: we put the peer's on our records and want none.
		cfg.ConnectionIDGenerator = func() []byte { return []byte{} }
	}
	if m := d.cfg.Heartbeat.mode(); m != 0 {
		cfg.ClientHelloMessageHook = func(h handshake.MessageClientHello) handshake.Message {
			h.Extensions = append(h.Extensions, heartbeatExtension{m})
			return &h
		}
	}
	return pion.Client(d.sh, d.sh.peer, cfg)
}

func (d *driver) pionServer(cfg *pion.Config) (*pion.Conn, error) {
	if creds := d.creds; creds.HasCertificate() && slices.ContainsFunc(d.cfg.Suites, func(s record.Suite) bool { return !s.PSK() }) {
		cfg.Certificates = []tls.Certificate{creds.Certificate()}
		// Asked for, and demanded in verifyConnection: pion would not resume
		// a session whose client it demanded a certificate of.
		cfg.ClientAuth = pion.RequestClientCert
		cfg.ClientCAs = creds.Roots()
	}
	if d.creds.HasPSK() && slices.ContainsFunc(d.cfg.Suites, record.Suite.PSK) {
		cfg.PSK = func(identity []byte) ([]byte, error) { return d.presharedKey(string(identity)) }
	} else {
		cfg.CustomCipherSuites = nil
	}
	if d.cfg.ConnectionID {
		d.sh.cidLen = cidLen
		cfg.ConnectionIDGenerator = func() []byte {
			id := make([]byte, cidLen)
			rand.Read(id)
			d.mu.Lock()
			d.grantedCID = id
			d.mu.Unlock()
			return id
		}
	}
	cfg.ServerHelloMessageHook = d.onServerHello
	conn, err := pion.Server(d.sh, d.sh.peer, cfg)
	if err != nil {
		return nil, err
	}
	if d.cookie != nil {
		field := cookieField(conn)
		if field == nil {
			return nil, errors.New("pion/dtls keeps its cookie elsewhere than the pinned version")
		}
		// Runs in the goroutine that drew pion's cookie and will compare it.
		d.sh.swapCookie = func() { *field = d.cookie }
	}
	return conn, nil
}

// onServerHello adds the heartbeat extension when the client offered it, and
// keeps what the ServerHello says.
func (d *driver) onServerHello(h handshake.MessageServerHello) handshake.Message {
	d.mu.Lock()
	d.serverHello = sentHello{random: h.Random.MarshalFixed(), sessionID: bytes.Clone(h.SessionID)}
	if h.CipherSuiteID != nil {
		d.serverHello.suite = record.Suite(*h.CipherSuiteID)
	}
	d.mu.Unlock()
	if m := d.cfg.Heartbeat.mode(); m != 0 && d.peerMode().Valid() {
		h.Extensions = append(h.Extensions, heartbeatExtension{m})
	}
	return &h
}

// presharedKey is pion's PSK callback, on both sides and also for sessions
// that are to be resumed.
func (d *driver) presharedKey(identity string) ([]byte, error) {
	key, ok := d.creds.PSK(identity)
	if !ok {
		return nil, d.refuse(fmt.Errorf("%w %q", errUnknownPSK, identity))
	}
	if !d.client {
		if err := d.creds.AllowPSK(identity); err != nil {
			return nil, d.refuse(&refusal{err: err, alert: alertAccessDenied})
		}
	}
	d.mu.Lock()
	d.pskIdentity = identity
	d.mu.Unlock()
	return key, nil
}

// heartbeatExtension is the hello extension of RFC 6520, Section 2.
type heartbeatExtension struct{ mode heartbeat.Mode }

func (e heartbeatExtension) TypeValue() extension.TypeValue { return heartbeat.ExtensionType }
func (e heartbeatExtension) Unmarshal([]byte) error         { return nil }
func (e heartbeatExtension) Marshal() ([]byte, error) {
	b := binary.BigEndian.AppendUint16(nil, heartbeat.ExtensionType)
	return append(b, 0, 1, byte(e.mode)), nil
}

// silent is pion's logger: what matters is told by errors and counters.
type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger { return silentLogger{} }

type silentLogger struct{}

func (silentLogger) Trace(string)          {}
func (silentLogger) Tracef(string, ...any) {}
func (silentLogger) Debug(string)          {}
func (silentLogger) Debugf(string, ...any) {}
func (silentLogger) Info(string)           {}
func (silentLogger) Infof(string, ...any)  {}
func (silentLogger) Warn(string)           {}
func (silentLogger) Warnf(string, ...any)  {}
func (silentLogger) Error(string)          {}
func (silentLogger) Errorf(string, ...any) {}
