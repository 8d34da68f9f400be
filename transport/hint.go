package transport

import (
	"crypto/tls"
	"errors"
	"net"
)

// Hint is the way out that an error knows, which may be wrapped; empty: it knows
// none.
func Hint(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return tlsAlert(err)
}

// alerts says what to do about the alerts of TLS and DTLS (RFC 5246, Section 7.2;
// RFC 8446, Section 6) that a collector sends.
var alerts = map[uint8]string{
	20:  "the keys differ: with pre-shared keys compare the line of this identity in both --psk-file",
	40:  "nothing in common: has one end certificates and the other pre-shared keys?",
	41:  "the collector wants a certificate of ours: --cert, --key, --ca",
	42:  "the collector does not take our certificate: its log says why (handshake refused, connection refused)",
	43:  "the collector does not take our kind of certificate: is it good for clients (clientAuth)?",
	45:  "our certificate is not valid by the collector's clock: has it expired, or is a clock wrong?",
	46:  "the collector does not take our certificate: its log says why (handshake refused, connection refused)",
	48:  "the collector does not trust who issued our certificate: its --ca must hold that authority",
	49:  "no --allow pattern of the collector matches our name, or our certificate is not good for clients (clientAuth): its log says which",
	51:  "the keys differ: with pre-shared keys compare the line of this identity in both --psk-file",
	70:  "the collector speaks other versions of the protocol only",
	71:  "nothing in common: has one end certificates and the other pre-shared keys?",
	112: "the collector does not know the name asked for: --server-name",
	115: "the collector has no pre-shared key for our identity: see its --psk-file",
	116: "the collector wants a certificate of ours: --cert, --key, --ca",
}

// AlertHint is what to do about an alert of a collector; empty: nothing is known.
func AlertHint(code uint8) string { return alerts[code] }

// tlsAlert finds the alert of a peer in an error of crypto/tls, which tells it by
// its name only.
func tlsAlert(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return ""
	}
	for code, h := range alerts {
		if op.Err.Error() == tls.AlertError(code).Error() {
			return h
		}
	}
	return ""
}
