// Package dtlsmux agrees on MTA-TLS in a DTLS 1.2 session (spec.md in the
// directory above, D15), for carriers that are reliable and keep the order: a
// stream as TCP's, or messages as SCTP's stream 0 or SOCK_SEQPACKET. The channels
// are then those of tlsmux:
//
//	c, err := dtlsmux.Client(ctx, carrier, options...)
//	…
//	if c.Agreed() {
//		m := tlsmux.Client(c, tlsmux.Config{})
//	}
//
// Here the two agree as the draft has it (Section 2.1): by an empty extension of
// both hellos, of a number for private use, as none was assigned. It is part of
// what Finished covers. Handshake and records are pion/dtls's; whom to trust is
// said by its options.
//
// Left out: resumption, which a session with a failed channel must not have
// (Section 3); datagrams, as the draft's windows bear no loss; hellos in several
// fragments, which pass for hellos without the extension. When the peer ends the
// session, what it sent just before may be lost: close channels first.
//
// Goroutines: pion's, ended by Close.
package dtlsmux
