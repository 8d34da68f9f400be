package tcp

import (
	"crypto/tls"

	"ipfixsuite/transport"
)

// Security is what protects the connection.
func (c *Conn) Security() transport.Security {
	if c.tls == nil {
		return transport.Security{}
	}
	st := c.tls.ConnectionState()
	return transport.Security{Version: tls.VersionName(st.Version), Suite: tls.CipherSuiteName(st.CipherSuite), Protocol: st.NegotiatedProtocol}
}

// Security implements transport.Secured.
func (s *session) Security() transport.Security { return s.conn.Security() }
