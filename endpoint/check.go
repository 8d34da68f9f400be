package endpoint

import "ipfixsuite/transport"

// Check says what Listen would refuse before it looks a name up or binds.
func Check(e transport.Endpoint, cfg Config) error { return cfg.check(e) }

// UDPPort is the UDP port that packets for an endpoint go to; 0: they are not
// carried by UDP.
func UDPPort(e transport.Endpoint) uint16 {
	switch {
	case !overUDP(e) && e.Scheme != "udp":
		return 0
	case isSCTP(e):
		o, _ := parseSCTP(e)
		return o.udp
	case isDCCP(e):
		o, _ := parseDCCP(e)
		return o.udp
	}
	return e.Port
}
