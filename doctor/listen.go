package doctor

import (
	"errors"
	"strings"
	"syscall"

	"ipfixsuite/endpoint"
	"ipfixsuite/transport"
)

// Listener sees whether a collector could listen at an endpoint, by doing so for
// a moment.
func Listener(s *Section, e transport.Endpoint, cfg endpoint.Config, noCredentials bool) {
	if !e.Secure() || !noCredentials {
		if err := endpoint.Check(e, cfg); err != nil {
			s.Fail("endpoint", transport.Hint(err), "%v", err)
			return
		}
	}
	at, literal := e.AddrPort()
	before := s.Well
	pending := stack(s, e, at.Addr(), "")
	switch {
	case before && !s.Well:
		return
	case e.Secure() && noCredentials:
		s.Fail("socket", "", "not tried: the credentials are of no use")
		return
	}
	if pending != nil {
		s.Add(*pending)
	}
	l, err := endpoint.Listen(e, cfg)
	why := ""
	if err != nil {
		why = strings.TrimPrefix(err.Error(), e.String()+": ")
	}
	switch {
	case err == nil:
		s.OK("socket", "%v is free", l.Addr())
		_ = l.Close() // it was never served
	case errors.Is(err, syscall.EADDRINUSE), strings.Contains(why, "port in use"):
		s.Warn("socket", "if that is this collector, well: then ask it, collector doctor "+asked(e, literal)+"; else ss -lntup shows who it is", "taken: %s", why)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		s.Fail("socket", "this host has no such address (ip addr); leave the host out for all of them", "%s", why)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		h := transport.Hint(err)
		if h == "" {
			h = "ports below 1024 need the capability CAP_NET_BIND_SERVICE"
		}
		s.Fail("socket", h, "%s", why)
	default:
		s.Fail("socket", transport.Hint(err), "%s", why)
	}
}

// asked is the URL by which an exporter on this host would reach an endpoint.
func asked(e transport.Endpoint, literal bool) string {
	if at, _ := e.AddrPort(); literal && at.Addr().IsUnspecified() {
		e.Host = "localhost"
	}
	return e.String()
}
