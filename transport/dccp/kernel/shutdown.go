package kernel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"ipfixsuite/transport"
)

const (
	// drainLook is how often the kernel is asked whether the queue is empty;
	// it tells nobody.
	drainLook = 5 * time.Millisecond
	// closeWait is how long the queue is waited for by those who have no
	// context.
	closeWait = time.Second
	// patience is how long whoever sends waits for room in the queue: it has to
	// look after other things as well, above all whether the peer lives.
	patience = 100 * time.Millisecond
	// maxMessage is more than any packet holds.
	maxMessage = 1 << 16
)

// drained waits until the kernel has sent what it took, or never will, or ctx
// ends.
func (c *Conn) drained(ctx context.Context) error {
	if c.queued() == 0 {
		return nil
	}
	t := time.NewTicker(drainLook)
	defer t.Stop()
	for c.queued() > 0 && !c.over() { // to a peer that has closed nothing goes
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Shutdown closes the connection when what is queued has been sent, or ctx
// ends: Linux throws away what congestion control holds back at a close.
func (c *Conn) Shutdown(ctx context.Context) error {
	return errors.Join(c.drained(ctx), c.Close())
}

// patiently is Write that gives up soon: transport.ErrBusy.
func (c *Conn) patiently(msg []byte) error {
	_ = c.SetWriteDeadline(time.Now().Add(patience)) // a closed one tells with Write
	_, err := c.write(msg)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return transport.ErrBusy
	case errors.Is(err, ErrTooLarge):
		return transport.ErrTooLarge
	case errors.Is(err, os.ErrClosed):
		return transport.ErrClosed
	case errors.Is(err, syscall.EPIPE):
		return transport.ErrPeerClosed
	}
	return err
}

// ended turns the error of a read into why a session has ended.
func ended(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return transport.ErrPeerClosed
	case errors.Is(err, os.ErrClosed), errors.Is(err, net.ErrClosed):
		return transport.ErrClosed
	}
	return err
}

func (c *Conn) peer(scheme string) transport.Peer {
	return transport.Peer{
		Identity: c.RemoteAddrPort().Addr().String(), Remote: c.RemoteAddrPort(), Local: c.LocalAddrPort(), Scheme: scheme,
		Session: transport.NewSessionNumber(),
	}
}

// plain are the properties of the kernel's DCCP: it does not tell what its
// acknowledgements say of messages.
var plain = transport.Properties{Streams: 1}
