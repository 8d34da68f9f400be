// Package sctp carries IPFIX over SCTP (RFC 9260; RFC 7011, Section 10.2): the
// dialer, the listener and both ends of a session, in the clear or under DTLS
// (RFC 6083), on top of either of two stacks that offer an Association:
//
//	scheme          stack                                 interoperates with
//	sctp            the kernel's, IP protocol 132         any SCTP
//	sctp+udp        in user space over UDP (RFC 6951)     ourselves, Linux with encapsulation
//	dtls+sctp       RFC 6083 over the first               RFC 6083 peers
//	dtls+sctp+udp   RFC 6083 over the second              ourselves, RFC 6083 peers over encapsulation
//
// The package knows no socket; the stacks are its subpackages, and package
// endpoint puts the two together. Deliberately left out: dynamic addresses
// (RFC 5061), stream reconfiguration (RFC 6525), message interleaving (RFC
// 8260), the one-to-many style of sockets.
package sctp
