// Package capture hands out packets: from pcap and pcapng files and, on
// Linux, from a network interface through a memory-mapped AF_PACKET ring
// (TPACKET_V3). It frames packets and tells their time and link layer; it
// looks into none of them.
//
// The file readers are our own. They hand out views of the read buffer, name
// the offset of a fault, keep the per-packet link type of pcapng files without
// an allocation, and take a third of the time of gopacket's pcapgo (see
// BenchmarkPeer in test/metering). gopacket's afpacket tells neither a
// packet's direction nor which capability is missing, and allocates for every
// packet whose VLAN tag the kernel had stripped.
//
// A source starts no goroutine and belongs to the one that calls Next.
package capture
