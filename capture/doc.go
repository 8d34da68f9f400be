// Package capture hands out packets: from pcap and pcapng files and, on
// Linux, from a network interface through a memory-mapped AF_PACKET ring
// (TPACKET_V3). It frames packets and tells their time and link layer; it
// looks into none of them.
//
// The file readers are our own: they name the offset of a fault, give the
// packets of each interface of a pcapng file their link type without an
// allocation, read on where a packet claims to be shorter than its capture,
// and spare routers gopacket's layers package. In time they are on a par with
// gopacket's pcapgo (BenchmarkPeer in test/metering). The ring is our own
// because gopacket's afpacket tells neither a packet's direction, which
// loopback needs, nor which capability is missing, and allocates for every
// packet whose VLAN tag the kernel had taken out.
//
// A source starts no goroutine and belongs to the one that calls Next.
package capture
