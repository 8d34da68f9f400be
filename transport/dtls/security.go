package dtls

import "ipfixsuite/transport"

// Security implements transport.Secured.
func (s *session) Security() transport.Security {
	return transport.Security{Version: "DTLS 1.2", Suite: s.sealer.Suite().String()}
}
