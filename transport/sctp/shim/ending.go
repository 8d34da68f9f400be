package shim

import (
	"bytes"
	"time"

	"ipfixsuite/transport/sctp/wire"
)

func (a *Association) takeShutdown(now time.Time, b []byte, c *wire.Chunk) []byte {
	tsn, ok := wire.ShutdownTSN(c.Value)
	if !ok || !a.sent.acceptable(tsn) {
		a.drops[DropSACK]++
		return b
	}
	if !after(a.sent.base-1, tsn) {
		a.acknowledged(now, a.sent.cumulative(now, tsn), false)
	}
	if !a.shutdownSeen {
		a.shutdownSeen = true
		a.tell(EventPeerShutdown)
	}
	return wire.AppendView(b, c, 0)
}

// takeReflected deals with a packet that bears the peer's tag: only two chunks
// may come so, with the T bit set (RFC 9260, Section 8.5.1).
func (a *Association) takeReflected(c *wire.Chunk) {
	switch c.Type {
	case wire.Abort:
		a.takeAbort(c, true)
	case wire.ShutdownComplete:
		a.takeComplete(c, true)
	default:
		a.stop(DropTag)
	}
}

func (a *Association) takeComplete(c *wire.Chunk, reflected bool) {
	switch {
	case (c.Flags&wire.FlagT != 0) != reflected:
		a.drops[DropTag]++
	case !a.shutdownAckSent:
		// RFC 9260, Section 8.5.1: ignored in any other state.
		a.drops[DropUnexpected]++
	default:
		a.finish(End{Reason: EndShutdown, ByPeer: true})
	}
}

func (a *Association) takeAbort(c *wire.Chunk, reflected bool) {
	if (c.Flags&wire.FlagT != 0) != reflected {
		a.drops[DropTag]++
		return
	}
	if a.shutdownAckSeen {
		// With that the orderly end was complete (RFC 9260, Section 9.2), though
		// the engine has yet to say so: the peer, which has all, does not wait.
		a.finish(End{Reason: EndShutdown, ByPeer: a.shutdownSeen})
		return
	}
	cause, info := wire.FirstCause(c.Value)
	e := End{Reason: EndAborted, Cause: cause}
	if cause == wire.CauseUserAbort || cause == wire.CauseViolation {
		e.Text = printable(info)
	}
	a.finish(e)
}

// printable keeps what a peer says short and free of control characters.
func printable(text []byte) string {
	text = text[:min(len(text), 128)]
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r == 0xFFFD {
			return '?'
		}
		return r
	}, text))
}
