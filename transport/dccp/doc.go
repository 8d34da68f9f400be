// Package dccp is the Datagram Congestion Control Protocol (RFC 4340) in user
// space: connections that carry messages, unreliably and unordered, as fast as
// the network bears. Over UDP (RFC 6773) it needs neither a kernel that knows
// it nor privileges; as IP protocol 33 it speaks with the DCCP of Linux.
//
//	l, err := dccp.Listen(dccp.Addr{IP: ip, Port: 4739, UDP: dccp.DefaultUDPPort}, services, dccp.ListenConfig{})
//	c, err := dccp.Dial(ctx, dccp.Addr{IP: ip, Port: 4739, UDP: dccp.DefaultUDPPort}, service, dccp.Config{})
//
// A Conn is a net.Conn whose messages keep their boundaries: one Write is one
// packet, of at most MPS octets, and one Read returns one message. What waits
// for congestion control is bounded, and so is what waits to be read. Which
// messages the peer received is known (Config.Track, Conn.Fates). An Endpoint
// runs any number of connections, of both roles, over one socket.
//
// Congestion control is negotiated: CCID 2, like TCP (RFC 4341), or CCID 3,
// with a smooth rate (RFC 4342, RFC 5348). Not offered are partial checksums
// inside UDP, which has none; ECN (its incapability is negotiated, as Linux
// does); short sequence numbers; multihoming and mobility, which DCCP has not.
//
// # Native DCCP beside a kernel that has it
//
// Such a kernel answers each packet for a socket it does not know with Reset,
// code 3, and so ends the connections of a user-space endpoint. Packets of raw
// sockets therefore carry a mark (SO_MARK 0x33, carrier.Config.Mark), and
// carrier.MarkRule prints the packet filter that lets only marked ones leave.
// Or use the kernel's own sockets: package kernel.
//
// # Goroutines
//
// An Endpoint has one goroutine, which reads the socket and ends with Close,
// or, if Dial or Listen made the Endpoint, with the last connection and
// Listener. Timers run in goroutines of the runtime's, which end by themselves.
// The machines are in package core, the octets in package wire, the sockets in
// package carrier.
package dccp
