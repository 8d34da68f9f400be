// Package dtls carries IPFIX Messages over DTLS 1.2 (RFC 6347, RFC 7011
// Section 11) on top of any datagram carrier: UDP, SCTP, DCCP.
//
// A handshake is run by pion/dtls behind a shim that shows it only what
// belongs to one. Then the association is taken over: pion is muted, its state
// read, pion stopped, and transport/dtls/record protects every further record.
// So an established session costs no goroutine and no allocation per record,
// answers heartbeats (RFC 6520), and no unprotected datagram can end it.
//
// A Dialer opens an Exporting Process's sessions. NewListener is a Collecting
// Process's demultiplexer: it finds the association of a datagram by
// Connection ID (RFC 9146), else by address, and runs a new handshake beside a
// living association (RFC 6347, Section 4.2.8). A ClientHello costs nothing
// until its sender has returned a cookie.
//
// Both peers authenticate: by X.509 certificates of one CA, checked by
// transport/credentials, or by a pre-shared key. Sessions are resumed by
// session id; what authenticated the original session is checked again each
// time. The extended master secret (RFC 7627) is demanded.
//
// Left out: DTLS 1.3, renegotiation, session tickets, ChangeCipherSpec to any
// epoch but 1.
//
// Goroutines: a Session has one that reads its carrier, ended by Close or the
// carrier; a Listener reads in Serve's goroutine, has one for each handshake,
// bounded in number and time, and one for its clock; all end before Serve
// returns.
package dtls
