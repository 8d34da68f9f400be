// Package userspace is SCTP over UDP without the kernel (RFC 6951):
// github.com/pion/sctp moves DATA and SACK, package shim does everything else
// an association needs.
//
// A Socket is a UDP socket with the associations on it. Each packet is found
// its association by the verification tag it bears, which must come from that
// association's address and ports; the UDP port may change, as NATs do (RFC
// 6951, Section 5.4). Nothing is kept of a handshake that others begin until its
// COOKIE ECHO has come back. Dial and Listen open a Socket of their own; where
// several ports are served on one UDP port, or associations are begun from it,
// one Socket does it all.
//
// Left out: several addresses for one association, packets of more than 8 KiB.
//
// Goroutines: a Socket has one that reads and one that writes, ended by its
// Close; an association has pion's three and a timer, ended with it.
package userspace
