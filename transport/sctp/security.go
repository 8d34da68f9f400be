package sctp

import "ipfixsuite/transport"

// Security implements transport.Secured.
func (s *session) Security() transport.Security {
	if s.tls == nil {
		return transport.Security{}
	}
	return transport.Security{Version: "DTLS 1.2", Suite: s.tls.sealer.Suite().String()}
}
