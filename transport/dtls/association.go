package dtls

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"sync"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

const (
	// resendInterval and maxResends bound how often anybody can make us
	// repeat our last flight, which takes no more than a plaintext record.
	resendInterval = 200 * time.Millisecond
	maxResends     = 12
)

// association is what both sides keep of an established one. Its read side
// belongs to whoever reads the carrier; its write side has a lock of its own.
type association struct {
	conn transport.DatagramConn

	wmu    sync.Mutex
	sealer *record.Sealer
	remote netip.AddrPort
	local  netip.Addr // the address of ours that the peer knows
	closed bool

	opener     *record.Opener
	lastFlight [][]byte
	lastSent   time.Time
	resends    int

	// mode is the peer's of RFC 6520, answers whether we answer its requests.
	mode    heartbeat.Mode
	answers bool
}

func newAssociation(conn transport.DatagramConn, peer netip.AddrPort, local netip.Addr, t *taken, cfg Config) *association {
	return &association{
		conn: conn, sealer: t.sealer, opener: t.opener, remote: peer, local: local,
		lastFlight: t.lastFlight, mode: t.heartbeat, answers: cfg.Heartbeat == HeartbeatOn && t.heartbeat != 0,
	}
}

// open opens one record in place; the drop tells why not.
func (a *association) open(h record.Header, rec []byte) (t record.Type, content []byte, why drop, ok bool) {
	if h.Epoch == 0 {
		return 0, nil, dropPlaintext, false
	}
	t, content, err := a.opener.Open(rec)
	switch {
	case err == nil:
		if t == record.ApplicationData || t == record.Heartbeat {
			// The peer has our last flight, or it would not send data.
			a.lastFlight = nil
		}
		return t, content, 0, true
	case errors.Is(err, record.ErrMAC):
		why = dropMAC
	case errors.Is(err, record.ErrReplayed):
		why = dropReplayed
	case errors.Is(err, record.ErrEpoch):
		why = dropEpoch
	default:
		why = dropMalformed
	}
	return 0, nil, why, false
}

// repeatFlight answers a handshake record of the peer's last flight: ours was
// lost. The octets are the same as before, so no nonce is used for anything
// new (RFC 6347, Section 4.2.4).
func (a *association) repeatFlight(now time.Time) bool {
	if a.lastFlight == nil {
		return false
	}
	if now.Sub(a.lastSent) < resendInterval {
		return true
	}
	if a.resends++; a.resends > maxResends {
		a.lastFlight = nil
		return false
	}
	a.lastSent = now
	a.wmu.Lock()
	defer a.wmu.Unlock()
	batch := make([]transport.Datagram, len(a.lastFlight))
	for i, b := range a.lastFlight {
		batch[i] = transport.Datagram{Peer: a.remote, Local: a.local, Data: b}
	}
	_, _ = a.conn.WriteBatch(batch)
	return true
}

// write sends one datagram; the caller holds wmu.
func (a *association) write(b []byte) error {
	_, err := a.conn.WriteBatch([]transport.Datagram{{Peer: a.remote, Local: a.local, Data: b}})
	return err
}

// sendRecord seals and sends one record of its own datagram.
func (a *association) sendRecord(t record.Type, content []byte) error {
	a.wmu.Lock()
	defer a.wmu.Unlock()
	if a.closed {
		return transport.ErrClosed
	}
	b, err := a.sealer.Seal(nil, t, content)
	if err != nil {
		return err
	}
	return a.write(b)
}

// sendHeartbeat sends one message with fresh padding.
func (a *association) sendHeartbeat(m heartbeat.Message) error {
	return a.sendPadded(m, heartbeat.MinPadding)
}

// sendPadded sends one message with so many octets of padding.
func (a *association) sendPadded(m heartbeat.Message, octets int) error {
	padding := make([]byte, octets)
	rand.Read(padding)
	b, err := m.AppendBinary(make([]byte, 0, heartbeat.HeaderLen+len(m.Payload)+len(padding)), padding)
	if err != nil {
		return err
	}
	return a.sendRecord(record.Heartbeat, b)
}

// close sends an alert as the last record; it reports whether it was the
// first to close.
func (a *association) close(level, code uint8) bool {
	a.wmu.Lock()
	defer a.wmu.Unlock()
	if a.closed {
		return false
	}
	a.closed = true
	a.writeAlert(level, code)
	return true
}

// repeatClose sends the alert of close once more.
func (a *association) repeatClose(level, code uint8) {
	a.wmu.Lock()
	defer a.wmu.Unlock()
	a.writeAlert(level, code)
}

// writeAlert seals and sends one; the caller holds wmu.
func (a *association) writeAlert(level, code uint8) {
	if b, err := a.sealer.Seal(nil, record.Alert, []byte{level, code}); err == nil {
		_ = a.write(b)
	}
}

// moved takes the peer's new address.
func (a *association) moved(peer netip.AddrPort, local netip.Addr) {
	a.wmu.Lock()
	a.remote, a.local = peer, local
	a.wmu.Unlock()
}

// Ended reads an authentic alert: nil while the session goes on, else what
// ended it.
func Ended(content []byte) error {
	switch {
	case len(content) != 2:
		return nil
	case content[1] == alertCloseNotify:
		return transport.ErrPeerClosed
	case content[0] == alertFatal:
		return &AlertError{Code: content[1]}
	}
	return nil
}
