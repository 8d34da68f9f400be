package transport

// Security is what protects a session.
type Security struct {
	Version string // "DTLS 1.2", "TLS 1.3"
	Suite   string // IANA's name of the cipher suite
	// Protocol is what was agreed on top (ALPN); empty: nothing.
	Protocol string
}

// A Secured is a Session that knows what protects it.
type Secured interface {
	// Security is the same for as long as the session lives; the zero value
	// says that nothing protects it.
	Security() Security
}
