package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"ipfixsuite/transport"
)

// Datagrams is a Conn as a transport.DatagramConn, for DTLS (RFC 5238): its
// messages are datagrams of one peer. It starts no goroutine.
type Datagrams struct {
	c   *Conn
	buf []byte // of the last ReadBatch

	ctx  context.Context //nolint:containedctx // that of the reader, who asks with the same again and again
	stop func() bool

	writing sync.Mutex
}

// Datagrams returns the connection as a carrier of datagrams. Read is not to be
// used beside it, and Write refuses with ErrSecured.
func (c *Conn) Datagrams() *Datagrams {
	c.secured.Store(true)
	return &Datagrams{c: c}
}

// ReadBatch implements transport.DatagramConn.
func (d *Datagrams) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if d.buf == nil {
		d.buf = make([]byte, maxMessage)
	}
	d.follow(ctx)
	n, err := d.c.Read(d.buf)
	switch {
	case err == nil:
		dst[0] = transport.Datagram{Peer: d.c.RemoteAddrPort(), Data: d.buf[:n:n]}
		return 1, nil
	case errors.Is(err, os.ErrClosed):
		return 0, net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(err, io.EOF):
		return 0, fmt.Errorf("dccp %v: the peer has closed the connection: %w", d.c.RemoteAddrPort(), err)
	}
	return 0, err
}

// follow lets the end of ctx end the reading.
func (d *Datagrams) follow(ctx context.Context) {
	if ctx == d.ctx {
		return
	}
	if d.stop != nil && !d.stop() {
		_ = d.c.SetReadDeadline(time.Time{}) // a closed one tells with Read
	}
	d.ctx = ctx
	d.stop = context.AfterFunc(ctx, func() { _ = d.c.SetReadDeadline(time.Unix(1, 0)) })
}

// WriteBatch implements transport.DatagramConn. It waits a little for room in
// the kernel's queue.
func (d *Datagrams) WriteBatch(batch []transport.Datagram) (n int, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	for n < len(batch) && err == nil {
		if err = d.c.patiently(batch[n].Data); err == nil {
			n++
		}
	}
	return n, err
}

// Transmit writes one datagram and returns when the kernel's queue is empty,
// will not be any more, or ctx ends: a DTLS handshake repeats only what has
// left (RFC 5238, Section 3.3).
func (d *Datagrams) Transmit(ctx context.Context, g transport.Datagram) error {
	d.writing.Lock()
	err := d.c.patiently(g.Data)
	d.writing.Unlock()
	if err != nil {
		return err
	}
	return d.c.drained(ctx)
}

// LocalAddr implements transport.DatagramConn: our address and DCCP port.
func (d *Datagrams) LocalAddr() netip.AddrPort { return d.c.LocalAddrPort() }

// MaxDatagram implements transport.DatagramConn: the MPS in force.
func (d *Datagrams) MaxDatagram(netip.AddrPort) int { return d.c.MPS() }

// SocketDrops implements transport.DatagramConn: the kernel does not tell.
func (d *Datagrams) SocketDrops() uint64 { return 0 }

// Unreachable implements transport.DatagramConn: the kernel does not tell.
func (d *Datagrams) Unreachable() uint64 { return 0 }

// Close implements transport.DatagramConn.
func (d *Datagrams) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = d.c.Shutdown(ctx) // it ends by itself
	return nil
}

// Connections are what a Listener accepts, as carriers of datagrams: what
// transport/dtls serves sessions on.
type Connections struct{ Listener *Listener }

// Accept waits for the next connection.
func (s *Connections) Accept(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
	c, err := s.Listener.accept(ctx)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return c.Datagrams(), c.RemoteAddrPort(), nil
}

// Addr is the address and DCCP port listened on.
func (s *Connections) Addr() netip.AddrPort { return s.Listener.AddrPort() }

// Close ends the listening.
func (s *Connections) Close() error { return s.Listener.Close() }
