package dtls

import (
	"context"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

// A transmitter is a carrier with a queue of its own, where congestion control
// may hold what is written (DCCP).
type transmitter interface {
	// Transmit writes one datagram and returns when it has left the queue,
	// cannot leave it any more, or ctx ends.
	Transmit(ctx context.Context, d transport.Datagram) error
}

// transmit sends a datagram of a handshake. What the handshake will repeat is
// waited for until it has really gone, however long that takes within the
// handshake: its timer starts then, and nothing that still stands in a queue is
// put there a second time (RFC 5238, Section 3.3, SHOULD).
func transmit(ctx context.Context, conn transport.DatagramConn, d transport.Datagram) error {
	if q, ok := conn.(transmitter); ok && len(d.Data) > 0 && record.Type(d.Data[0]) != record.Alert {
		return q.Transmit(ctx, d)
	}
	_, err := conn.WriteBatch([]transport.Datagram{d})
	return err
}
