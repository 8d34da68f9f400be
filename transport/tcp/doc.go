// Package tcp carries IPFIX over TCP (RFC 7011, Section 10.4) and over TLS 1.2
// and 1.3 on TCP (Section 11).
//
// A byte stream has no messages: a Listener finds them by the length in their
// header. A stream whose next octets are no IPFIX header has lost its
// synchronisation for good; its connection is closed with that reason.
//
// A Dialer's session takes messages into a bounded buffer; whatever gathered
// there while the write before was under way goes out with the next, so that a
// busy session writes few large pieces and a quiet one waits for nothing. What
// the peer's host has acknowledged is read off the kernel's send queue
// (SIOCOUTQ): the session tells the fate of each message. That the process has
// read it TCP cannot prove.
//
// A peer that acknowledges nothing is given up by the kernel after
// Config.DeadAfter (TCP_USER_TIMEOUT, and keepalives while nothing is sent).
// In TLS both peers authenticate by certificates, judged by
// transport/credentials anew for resumed sessions; sessions are resumed by
// tickets.
//
// Left out: pre-shared keys, which crypto/tls does not have; compression and
// renegotiation; TCP Fast Open.
//
// Goroutines: a session has one that reads and one that writes, both ended by
// Close or the connection's end; a Listener one for each connection, ended
// before Serve returns.
package tcp
