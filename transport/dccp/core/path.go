package core

import (
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// path is the packet size that the path carries, and the search for more
// (RFC 4340, Section 14).
type path struct {
	mtu  int       // in force: octets from the DCCP header to the end of the data
	most int       // never more
	next time.Time // for the next probe
}

func (p *path) start(cfg *Config) { p.mtu, p.most = cfg.MTU, cfg.MaxMTU }

// MPS is the largest message that Send takes, in octets: the packet size less
// the header of a DataAck and room for options (RFC 4340, Section 14).
func (c *Conn) MPS() int { return c.path.mtu - wire.DataAckHeader - optionRoom }

// SetMTU tells the packet size of the path, in octets from the DCCP header on,
// when the carrier learns it from its interface or socket.
func (c *Conn) SetMTU(_ time.Time, mtu int) {
	mtu = min(max(mtu, MinMTU), wire.MaxPacket)
	if mtu == c.path.mtu {
		return
	}
	c.path.mtu, c.path.most = mtu, max(mtu, c.path.most)
	c.mpsChanged()
}

func (c *Conn) mpsChanged() {
	if c.sender != nil {
		c.sender.SetMPS(c.MPS())
	}
	c.events.push(Event{Kind: EventMPS})
}

// probeTimer continues the search for a larger packet size.
func (c *Conn) probeTimer(time.Time) {}

func (c *Conn) appendProbe(_ time.Time, b []byte) ([]byte, Sent, bool) { return b, Sent{}, false }
