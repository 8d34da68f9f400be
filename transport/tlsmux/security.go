package tlsmux

import "ipfixsuite/transport"

// Security implements transport.Secured.
func (s *session) Security() transport.Security { return s.conn.Security() }
