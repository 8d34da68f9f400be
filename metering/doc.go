// Package metering is the Metering Process (RFC 7011, Section 2; RFC 5470):
// packets go in, flow records come out.
//
// [Headers] reads one packet from its link layer to its ports. A [Meter] keeps
// the flows: 5-tuple, VLAN tags and ingress interface are the Flow Keys;
// packets, octets, first and last time, TCP control bits and the reason for
// the end are what is measured (RFC 7012). With [Config.Biflow] both ways of a
// conversation make one record (RFC 5103), its source the initiator
// (Section 5.1).
//
// Time comes from the packets only, so the same packets give the same records
// in the same order. A Meter has no goroutine and no lock; one goroutine
// drives it. Once its tables have grown it allocates nothing.
//
// Left out: packets inside tunnels (GRE, IP in IP, VXLAN) are metered by their
// outer header; fragments are not reassembled, later ones get the ports of
// the first (see [Stats.FragmentsUnmatched]); checksums are not verified, since
// network cards fill them in after a tap has seen the packet.
package metering
