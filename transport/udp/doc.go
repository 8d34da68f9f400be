// Package udp carries IPFIX over UDP (RFC 7011, Section 10.3): the socket
// that plain UDP and DTLS/UDP share, and plain UDP's sessions.
//
// A Conn moves datagrams in batches. On Linux it reads with recvmmsg and has
// the kernel join what one peer sends in a row (UDP_GRO), and writes with
// sendmmsg and has the kernel cut runs of equally long datagrams (UDP_SEGMENT);
// each is used where the kernel has it and left where it proves not to work.
// Elsewhere one system call moves one datagram. A listening socket is read past
// the runtime's poller, which would be woken by each datagram, and while they
// come fast the reader rests a millisecond between reads, as far as the
// socket's buffer allows.
//
// A Conn starts no goroutine. A Listener runs in the goroutine that calls
// Serve and calls its Receivers there; a session of a Dialer has one goroutine
// that reads errors off the socket, ended by Close.
//
// What ICMP says of a peer is never a verdict, as anybody can send it: it is
// counted (Unreachable), and the datagram is sent again.
package udp
