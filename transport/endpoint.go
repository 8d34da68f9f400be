package transport

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// The ports IANA assigned to IPFIX: in the clear, and under DTLS or TLS.
const (
	DefaultPort       = 4739
	DefaultSecurePort = 4740
)

// Endpoint is where a Transport Session goes to or is awaited, written as
// SCHEME://HOST:PORT?OPTIONS.
//
// Port is always the port of the transport protocol that carries IPFIX; where
// that one travels inside UDP (RFC 6951, RFC 6773), the port of the outer UDP
// is an option of the scheme.
type Endpoint struct {
	Scheme string
	// Host is a name in lower case, an IPv4 address, or an IPv6 address
	// without brackets, with its zone after '%'. Empty: all addresses of
	// this host (listeners only).
	Host  string
	Port  uint16 // 0: one of the system's choice (listeners only)
	Query url.Values
}

// schemes are all transports of the suite, in the order they are offered in
// error messages. Whether a build can serve one is the business of package
// endpoint.
var schemes = [...]string{
	"udp", "dtls+udp",
	"tcp", "tls+tcp", "mta+tls+tcp",
	"sctp", "sctp+udp", "dtls+sctp", "dtls+sctp+udp",
	"dccp", "dccp+udp", "dtls+dccp", "dtls+dccp+udp",
}

// maxEndpoint bounds an endpoint URL: a name has at most 253 octets, the rest
// is for options.
const maxEndpoint = 1024

// EndpointError says what is wrong with an endpoint URL.
type EndpointError struct {
	URL    string // as given
	Reason string
	hint   string
}

func (e *EndpointError) Error() string {
	return fmt.Sprintf("endpoint %q: %s", e.URL, e.Reason)
}

// Hint tells how to put it right; empty if there is nothing to say.
func (e *EndpointError) Hint() string { return e.hint }

// ParseEndpoint reads an endpoint URL. A port that is not given is the
// assigned one, 4739 or 4740 (RFC 7011, Section 10, and its secure
// transports). Every error is an *EndpointError.
func ParseEndpoint(s string) (Endpoint, error) {
	e, reason, hint := parseEndpoint(s)
	if reason != "" {
		return Endpoint{}, &EndpointError{URL: clip(s), Reason: reason, hint: hint}
	}
	return e, nil
}

// clip keeps what is quoted in an error short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

func parseEndpoint(s string) (e Endpoint, reason, hint string) {
	if s == "" {
		return e, "empty", "write for example dtls+udp://collector.example:4740"
	}
	if len(s) > maxEndpoint {
		return e, "longer than " + strconv.Itoa(maxEndpoint) + " octets", ""
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return e, "no scheme", noSchemeHint(s)
	}
	e.Scheme = strings.ToLower(scheme)
	if !knownScheme(e.Scheme) {
		return e, fmt.Sprintf("unknown scheme %q", clip(scheme)), schemeHint(e.Scheme, rest)
	}
	if strings.ContainsRune(rest, '#') {
		return e, "a fragment (#…) means nothing here", ""
	}
	rest, query, hasQuery := strings.Cut(rest, "?")
	hostport, path, _ := strings.Cut(rest, "/")
	if path != "" {
		return e, fmt.Sprintf("a path (%q) means nothing here", clip("/"+path)), "an endpoint is SCHEME://HOST:PORT"
	}
	if strings.ContainsRune(hostport, '@') {
		return e, "user names and passwords mean nothing here", "peers are authenticated by --cert, --key, --ca or --psk-file"
	}
	if hasQuery && query != "" {
		var err error
		if e.Query, err = url.ParseQuery(query); err != nil {
			return e, "bad options after '?': " + clip(err.Error()), "options are KEY=VALUE, joined by &"
		}
	}
	host, port, reason, hint := splitHostPort(hostport)
	if reason != "" {
		return e, reason, hint
	}
	if e.Host, reason, hint = parseHost(host, strings.HasPrefix(hostport, "[")); reason != "" {
		return e, reason, hint
	}
	if e.Port, reason = e.parsePort(port); reason != "" {
		return e, reason, fmt.Sprintf("ports are 1 to 65535; that of %s is %d, which may be left out", e.Scheme, e.defaultPort())
	}
	return e, "", ""
}

// splitHostPort cuts HOST, HOST:PORT, [V6] and [V6]:PORT; port is empty when
// there is none, and ":" alone counts as none.
func splitHostPort(s string) (host, port, reason, hint string) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, after, closed := strings.Cut(inner, "]")
		if !closed {
			return "", "", "missing ']' after the IPv6 address", ""
		}
		if after == "" {
			return host, "", "", ""
		}
		port, ok := strings.CutPrefix(after, ":")
		if !ok {
			return "", "", fmt.Sprintf("%q after ']' is no port", clip(after)), "write [ADDRESS]:PORT"
		}
		return host, port, "", ""
	}
	if strings.Count(s, ":") > 1 {
		return "", "", "an IPv6 address stands in brackets", "write [ADDRESS]:PORT, for example [2001:db8::1]:4740"
	}
	host, port, _ = strings.Cut(s, ":")
	return host, port, "", ""
}

func parseHost(s string, bracketed bool) (host, reason, hint string) {
	if bracketed {
		// In a URL the zone's '%' is itself escaped (RFC 6874); a bare one
		// is understood as well.
		addr, zone, _ := strings.Cut(s, "%")
		if z, ok := strings.CutPrefix(zone, "25"); ok && z != "" {
			zone = z
		}
		if zone != "" {
			addr += "%" + zone
		}
		a, err := netip.ParseAddr(addr)
		if err != nil || !a.Is6() || badZone(zone) {
			return "", fmt.Sprintf("%q is no IPv6 address", clip(s)), ""
		}
		return a.String(), "", ""
	}
	if s == "" {
		return "", "", ""
	}
	if s == "*" {
		return "", "'*' is no host", "leave the host out for all addresses: udp://:4739"
	}
	if strings.Trim(s, "0123456789.") == "" {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return "", fmt.Sprintf("%q is no IPv4 address", clip(s)), ""
		}
		return a.String(), "", ""
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if reason := badName(name); reason != "" {
		return "", fmt.Sprintf("%q is no host name: %s", clip(s), reason), ""
	}
	return name, "", ""
}

// badZone holds interface names to what can stand in a URL.
func badZone(zone string) bool {
	for i := range len(zone) {
		if c := zone[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/?#[]@:%", c) >= 0 {
			return true
		}
	}
	return false
}

// badName says why a lower-case name is none that DNS can hold; underscores
// pass because names with them exist.
func badName(name string) string {
	if len(name) > 253 {
		return "longer than 253 octets"
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "empty label"
		case len(label) > 63:
			return "label longer than 63 octets"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "label begins or ends with '-'"
		}
		for _, c := range label {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case c > 0x7f:
				return "not ASCII (write it in its xn-- form)"
			default:
				return fmt.Sprintf("%q in it", c)
			}
		}
	}
	return ""
}

func (e Endpoint) parsePort(s string) (port uint16, reason string) {
	if s == "" {
		return e.defaultPort(), ""
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s[0] == '+' {
		return 0, fmt.Sprintf("bad port %q", clip(s))
	}
	return uint16(n), ""
}

func (e Endpoint) defaultPort() uint16 {
	if e.Secure() {
		return DefaultSecurePort
	}
	return DefaultPort
}

// String writes the endpoint so that ParseEndpoint reads it back; the port is
// always shown.
func (e Endpoint) String() string {
	host := e.Host
	if strings.ContainsRune(host, ':') {
		addr, zone, ok := strings.Cut(host, "%")
		if ok {
			addr += "%25" + zone
		}
		host = "[" + addr + "]"
	}
	s := e.Scheme + "://" + host + ":" + strconv.Itoa(int(e.Port))
	if q := e.Query.Encode(); q != "" {
		s += "?" + q
	}
	return s
}

// Secure tells whether peers are authenticated and content is encrypted.
func (e Endpoint) Secure() bool {
	return strings.HasPrefix(e.Scheme, "dtls+") || strings.HasPrefix(e.Scheme, "tls+") || strings.HasPrefix(e.Scheme, "mta+")
}

// Loopback tells whether the endpoint can only be on this host: a loopback
// address, or a name under "localhost" (RFC 6761, Section 6.3). What such a
// name resolves to is still to be checked.
func (e Endpoint) Loopback() bool {
	if a, err := netip.ParseAddr(e.Host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return e.Host == "localhost" || strings.HasSuffix(e.Host, ".localhost")
}

// AddrPort is the address when Host is one or is empty (all addresses, both
// families: [::]); ok is false for a name.
func (e Endpoint) AddrPort() (addr netip.AddrPort, ok bool) {
	if e.Host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), e.Port), true
	}
	a, err := netip.ParseAddr(e.Host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, e.Port), true
}
