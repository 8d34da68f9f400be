// Package sctp holds our SCTP against a real kernel's: both of our stacks on
// each other and on sockets that C programs use, in the clear and under DTLS
// (RFC 6083), with tshark as the judge of what went over the wire. Everything
// runs inside test/uml.
package sctp
