package transport

import (
	"context"
	"net/netip"
)

// Datagram is one datagram read from or written to a DatagramConn.
type Datagram struct {
	Peer netip.AddrPort
	// Local is this host's address that the datagram came to, where the
	// carrier serves several; an answer carries it back, so that it leaves
	// from the address the peer knows. The zero value leaves the choice to
	// the system.
	Local netip.Addr
	Data  []byte
}

// A DatagramConn carries datagrams of one or many peers in batches: the
// socket under plain UDP and under DTLS, and what SCTP and DCCP offer DTLS.
// One goroutine reads; any may write.
type DatagramConn interface {
	// ReadBatch waits for at least one datagram and fills dst with what is
	// there. The data is valid until the next ReadBatch. It returns an error
	// only when the carrier is done for or ctx ended; what the system
	// reports of single peers (ICMP) goes to Unreachable.
	ReadBatch(ctx context.Context, dst []Datagram) (int, error)
	// WriteBatch sends in order and returns how many the system took. An
	// error belongs to the datagram after those.
	WriteBatch(batch []Datagram) (int, error)
	LocalAddr() netip.AddrPort
	// MaxDatagram is the largest datagram for a peer that its path takes
	// unfragmented, as far as is known, in octets.
	MaxDatagram(peer netip.AddrPort) int
	// SocketDrops counts datagrams the kernel dropped for want of room.
	SocketDrops() uint64
	// Unreachable counts hints that a peer cannot be reached.
	Unreachable() uint64
	Close() error
}
