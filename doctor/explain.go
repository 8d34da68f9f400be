package doctor

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp"
)

// What to do about the commonest troubles.
const (
	hintNobody = "is the collector running, and does it listen there (on its host: ss -lntup)? do scheme and port fit its --listen?"
	hintSilent = "is a firewall in between, or the port another's? does the collector run, with this very scheme in --listen? look for `handshake refused` in its log"
)

// explain finds what to do about an error of a session.
func explain(err error, e transport.Endpoint) string {
	if h := transport.Hint(err); h != "" {
		return h
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

// hintUDP names the scheme that needs neither kernel nor privileges.
func hintUDP(e transport.Endpoint) string {
	if e.Scheme == "sctp" || e.Scheme == "dtls+sctp" || e.Scheme == "dccp" || e.Scheme == "dtls+dccp" {
		return "use " + e.Scheme + "+udp://, at both ends: it needs no support of the kernel and no privileges"
	}
	return ""
}
