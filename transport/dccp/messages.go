package dccp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"ipfixsuite/transport/dccp/core"
)

// Read returns one message. If b is too short for it the rest is lost, and
// io.ErrShortBuffer says so. It returns io.EOF when the peer has closed and
// everything was read.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		n, ok, err := c.tryRead(b)
		if ok || err != nil {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.done:
		case <-c.reads.wait():
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (c *Conn) tryRead(b []byte) (n int, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		signal(c.readable) // for the next one who waits
		return 0, false, net.ErrClosed
	case c.in.n == 0 && !c.ended:
		return 0, false, nil
	case c.in.n == 0 && c.err == nil:
		return 0, false, io.EOF
	case c.in.n == 0:
		return 0, false, c.err
	}
	if c.reads.over() {
		return 0, false, os.ErrDeadlineExceeded
	}
	n, size := c.in.pop(b)
	if c.in.n > 0 {
		signal(c.readable)
	}
	if n < size {
		return n, true, io.ErrShortBuffer
	}
	return n, true, nil
}

// Write queues one message. It waits while the queue is full, unless
// Config.Policy says otherwise, and never for the network. A message larger
// than MPS is refused with ErrTooLarge.
func (c *Conn) Write(b []byte) (int, error) {
	if c.secured.Load() {
		return 0, ErrSecured
	}
	if _, err := c.queue(nil, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Send is Write that tells the message's number, which Fates uses. ctx ends
// the wait for room.
func (c *Conn) Send(ctx context.Context, msg []byte) (uint64, error) {
	if c.secured.Load() {
		return 0, ErrSecured
	}
	id, err := c.queue(ctx.Done(), msg)
	return id, ctxError(ctx, err)
}

// TrySend is Send that never waits: without room it returns ErrQueueFull. It
// is what Config.Receive may use.
func (c *Conn) TrySend(msg []byte) (uint64, error) {
	if c.secured.Load() {
		return 0, ErrSecured
	}
	return c.tryQueue(msg)
}

// Transmit is Send that returns when the message has gone to the network, or
// never will: it stands in no queue any more. A protocol that repeats what it
// sends, as a DTLS handshake does, starts its timer then (RFC 5238, Section
// 3.3).
func (c *Conn) Transmit(ctx context.Context, msg []byte) (uint64, error) {
	if c.secured.Load() {
		return 0, ErrSecured
	}
	id, err := c.queue(ctx.Done(), msg)
	if err != nil {
		return 0, ctxError(ctx, err)
	}
	return id, c.left(ctx, id)
}

// left waits until a message stands in no queue any more.
func (c *Conn) left(ctx context.Context, id uint64) error {
	for {
		c.mu.Lock()
		if c.told >= id || c.ended {
			err := c.gone()
			if c.told >= id {
				err = nil
			}
			c.mu.Unlock()
			return err
		}
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.writes.wait():
			return os.ErrDeadlineExceeded
		}
	}
}

// queued tells whether a message still waits to be sent.
func (c *Conn) queued(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told < id && !c.ended
}

func ctxError(ctx context.Context, err error) error {
	if errors.Is(err, errCanceled) {
		return ctx.Err()
	}
	return err
}

// errCanceled stands for the error of a context that ended.
var errCanceled = errors.New("canceled")

// queue gives the machine a message and sends what may go.
func (c *Conn) queue(cancel <-chan struct{}, msg []byte) (uint64, error) {
	for waited := false; ; waited = true {
		id, err := c.tryQueue(msg)
		if !errors.Is(err, core.ErrQueueFull) {
			if waited {
				signal(c.writable) // others may wait as well
			}
			return id, err
		}
		if err := c.room(cancel); err != nil {
			return 0, err
		}
	}
}

// room waits until it is worth while to try again what the queue refused.
func (c *Conn) room(cancel <-chan struct{}) error {
	select {
	case <-c.writable:
	case <-c.done:
	case <-cancel:
		return errCanceled
	case <-c.writes.wait():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *Conn) tryQueue(msg []byte) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if err := c.take(now, msg); err != nil {
		return 0, err
	}
	id := c.next
	c.drive(now)
	return id, nil
}

// take gives the machine a message; c.mu is held.
func (c *Conn) take(now time.Time, msg []byte) error {
	if err := c.gone(); err != nil {
		signal(c.writable) // for the next one who waits
		return err
	}
	if c.writes.over() {
		return os.ErrDeadlineExceeded
	}
	if err := c.m.Send(now, c.next+1, msg); err != nil {
		if errors.Is(err, core.ErrClosed) {
			err = io.ErrClosedPipe
		}
		return err
	}
	c.next++
	return nil
}

// gone tells why nothing can be sent any more, nil if it can; c.mu is held.
func (c *Conn) gone() error {
	switch {
	case c.closing:
		return net.ErrClosed
	case !c.ended:
		return nil
	case c.err == nil:
		return io.ErrClosedPipe
	}
	return c.err
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.reads.set(t)
	c.writes.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.reads.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writes.set(t)
	return nil
}
