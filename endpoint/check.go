package endpoint

import "ipfixsuite/transport"

// Check says what Listen would refuse before it looks a name up or binds.
func Check(e transport.Endpoint, cfg Config) error { return cfg.check(e) }
