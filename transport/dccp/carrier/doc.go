// Package carrier moves DCCP packets between hosts: inside UDP datagrams (RFC
// 6773) or as IP packets of protocol 33 (RFC 4340). Both are
// transport.DatagramConns whose datagrams are whole DCCP packets, in batches
// (recvmmsg, sendmmsg):
//
//	UDP   Peer is the peer's address and UDP port. DCCP's checksum stays 0 and
//	      is ignored, UDP's guards the packet; datagrams without one are not
//	      let in. Needs no privilege.
//	Raw   Peer is the peer's address with port 0. Checksums are computed and
//	      verified here. Needs CAP_NET_RAW, and on a host whose kernel has
//	      DCCP of its own a packet filter (MarkRule), or that kernel resets
//	      the connections that it does not know.
//
// Packets of a connection go unfragmented and the path's MTU is obeyed, but
// for Request, Response and Reset, which may be fragmented (RFC 4340, Section
// 14.2). MaxDatagram is the room for a DCCP packet, its header included.
//
// The package neither parses options nor knows connections, and starts no
// goroutine: ReadBatch runs in its caller's, and ends with Close.
package carrier
