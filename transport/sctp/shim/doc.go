// Package shim is what stands between an SCTP engine and the wire: everything
// of an association but moving DATA and SACK. It makes the handshake (RFC 9260,
// Section 5), authenticates chunks (RFC 4895), abandons messages (RFC 3758),
// asks the peer for signs of life and counts failures (RFC 9260, Section 8),
// checks tags and chunks, and knows of each message whether the peer has
// acknowledged it.
//
//	          Initiator, Responder: INIT … COOKIE ACK
//	                 | Terms
//	messages --> Association <-- packets of the wire
//	                 |
//	              engine: DATA, SACK, SHUTDOWN …, between fixed ports, without checksums
//
// The engine is told nothing that it would stumble over, and nothing that it
// sends reaches the wire unseen: its ports, stream sequence numbers, payload
// protocol identifiers and flags are replaced, its packets authenticated, and
// DATA of a message that was given up is taken out. For it all messages are
// ordered and reliable, so that what it puts on the wire keeps the order in
// which messages were handed to the Association; that is how these are found
// again in what the peer acknowledges.
//
// Left out: more than one path, dynamic addresses (RFC 5061), stream
// reconfiguration (RFC 6525), interleaving (RFC 8260), ECN. The package is
// pure: time, randomness and packets are passed in, packets and events come
// out; nothing blocks. The types belong to one goroutine at a time.
package shim
