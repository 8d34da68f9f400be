package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/dtls"
)

// What to do about the commonest troubles.
const (
	hintNobody = "is the collector running, and does it listen there (on its host: ss -lntup)? do scheme and port fit its --listen?"
	hintSilent = "is a firewall in between, or the port another's? does the collector run, with this very scheme in --listen? look for `handshake refused` in its log"
)

// alerts says what the alerts of TLS and DTLS (RFC 5246, Section 7.2; RFC 8446,
// Section 6) mean when a collector sends them.
var alerts = map[uint8]string{
	20:  "the keys differ: with pre-shared keys compare the line of this identity in both --psk-file",
	40:  "nothing in common: has one end certificates and the other pre-shared keys?",
	41:  "the collector wants a certificate of ours: --cert, --key, --ca",
	42:  "the collector does not take our certificate: `handshake refused` in its log says why",
	43:  "the collector does not take our kind of certificate: is it good for clients (clientAuth)?",
	45:  "our certificate has expired by the collector's clock",
	46:  "the collector does not take our certificate: `handshake refused` in its log says why",
	48:  "the collector does not trust who issued our certificate: its --ca must hold that authority",
	49:  "no --allow pattern of the collector matches our name",
	51:  "the keys differ: with pre-shared keys compare the line of this identity in both --psk-file",
	70:  "the collector speaks other versions of the protocol only",
	71:  "nothing in common: has one end certificates and the other pre-shared keys?",
	112: "the collector does not know the name asked for: --server-name",
	115: "the collector has no pre-shared key for our identity: see its --psk-file",
	116: "the collector wants a certificate of ours: --cert, --key, --ca",
}

// explain finds what to do about an error of a session.
func explain(err error, e transport.Endpoint) string {
	if a, ok := errors.AsType[*dtls.AlertError](err); ok && alerts[a.Code] != "" {
		return alerts[a.Code]
	}
	if h := tlsAlert(err); h != "" {
		return h
	}
	if h := transport.Hint(err); h != "" {
		return h
	}
	if c, ok := errors.AsType[*credentials.Error](err); ok && strings.HasPrefix(c.Reason, "not for ") {
		return "write one of its names in the URL, or --server-name NAME; or issue one for this name: collector pki issue DIR NAME SAN…"
	}
	if r, ok := errors.AsType[*dccp.ResetError](err); ok && r.Remote {
		return hintNobody
	}
	switch {
	case strings.HasSuffix(err.Error(), "refused by the peer"): // SCTP's ABORT
		return hintNobody
	case errors.Is(err, syscall.ECONNREFUSED):
		return hintNobody
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it hung up: is that the collector, and is the scheme the one in its --listen? its log may say why"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return hintRoute
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return "this host forbids it: a filter of its own (nft list ruleset), or a privilege that is missing"
	case errors.Is(err, syscall.EPROTONOSUPPORT), errors.Is(err, syscall.ESOCKTNOSUPPORT):
		return hintUDP(e)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return hintSilent
	case e.Secure() && strings.HasSuffix(e.Scheme, "tcp"):
		return "is TLS spoken there at all? try: openssl s_client -connect HOST:PORT"
	}
	return ""
}

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

// hintUDP names the scheme that needs neither kernel nor privileges.
func hintUDP(e transport.Endpoint) string {
	if e.Scheme == "sctp" || e.Scheme == "dtls+sctp" || e.Scheme == "dccp" || e.Scheme == "dtls+dccp" {
		return "use " + e.Scheme + "+udp://, at both ends: it needs no support of the kernel and no privileges"
	}
	return ""
}
