// Package kernel uses the DCCP sockets of a Linux kernel that has them (up to
// 6.15, and only where the modules are loaded or may be): what the kernel
// speaks itself, a user-space endpoint beside it can speak only behind a packet
// filter. Conn and Listener are those of package dccp in small: messages, MPS
// and service codes, but no word on which messages arrived.
//
// Dialer and Server make Transport Sessions of plain DCCP of them, Datagrams and
// Connections what DTLS runs on (RFC 5238).
//
// Conn and Listener start no goroutine: the runtime's poller waits for the
// sockets. A session has one, which awaits the peer's end; Server has one for
// each connection, which reads.
package kernel
