// Package tlsmux carries many channels in one TLS session (MTA-TLS,
// draft-badra-tls-multiplexing-01; spec.md says the rules, the octets and what
// was decided): SCTP's streams for those who only have TCP. One handshake
// serves all, and a channel whose reader stalls stalls no other.
//
// As a library: Client and Server make a Mux of an established TLS connection;
// its Channels are net.Conns, and a net.Listener brings those that the peer asks
// for. Over DTLS package dtlsmux makes the connection.
//
// For IPFIX: a Dialer's session opens a channel for each stream that is used,
// and each channel is a Transport Session of the Collecting Process, with
// sequence numbers and Templates of its own. The collector gives credit for
// what its sinks have written, so that an Acknowledgment proves to the
// Exporting Process that a message is safe; a probe asks for it. A channel that
// the collector ends, or refuses, ends alone: Renew begins another. A collector
// that does not agree to the protocol is served by plain TLS.
//
// wire codes the packets, core is the machine; both are pure.
//
// Goroutines: a Mux has one that reads and one that writes, both ended by Close
// or the connection's end; the collector's side one for each channel and one
// that watches for idleness, ended before Upgrade's function returns.
package tlsmux
