package sctp

import (
	"errors"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/dtls/record"
)

// closeNotify is the alert of an orderly end (RFC 5246, Section 7.2.1).
var closeNotify = []byte{1, 0}

// secured is DTLS on an association, after the handshake.
type secured struct {
	sealer  *record.Sealer
	opener  *record.Opener
	mode    heartbeat.Mode // the peer's, 0: none
	answers bool           // whether we answer its heartbeat requests
}

// confirms tells whether an answered probe proves that the peer's process has
// what was sent before.
func (s *secured) confirms() bool { return s != nil && s.mode == heartbeat.PeerAllowed }

var (
	errRecord = errors.New("a message that is not exactly one record")
	errStray  = errors.New("a record of the handshake or an alert outside of stream 0, or unordered")
)

// checkMessage holds a message to the form that RFC 6083 demands: exactly one
// record (Section 4.1), and on stream 0 and in order where that is demanded of
// its type (Section 4.4).
func checkMessage(m Message) (record.Header, error) {
	h, _, rest, ok := record.Next(m.Data, 0)
	switch {
	case !ok || len(rest) > 0 || h.Type == record.ConnectionID:
		return h, errRecord
	case m.Stream == 0 && !m.Unordered:
		return h, nil
	}
	switch h.Type {
	case record.ChangeCipherSpec, record.Alert, record.Handshake:
		return h, errStray
	}
	return h, nil
}

// open opens the record in a message in place.
func (s *secured) open(m Message) (record.Type, []byte, error) {
	if _, err := checkMessage(m); err != nil {
		return 0, nil, err
	}
	return s.opener.Open(m.Data)
}
