package dccp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ipfixsuite/transport"
)

// Datagrams is a Conn as a transport.DatagramConn, for DTLS (RFC 5238): its
// messages are datagrams of one peer. It starts no goroutine.
type Datagrams struct {
	c     *Conn
	arena []byte // of the last ReadBatch

	writing sync.Mutex // keeps the order of those who write, and may wait

	mu     sync.Mutex // never held during a wait
	data   carried
	flight uint64 // the last message of a handshake
}

// Datagrams returns the connection as a carrier of datagrams. Read and
// Config.Receive are not to be used beside it. Write and its like return
// ErrSecured from then on: on a connection that carries DTLS nothing
// unprotected may be sent (RFC 5238, Section 3.4, MUST NOT).
func (c *Conn) Datagrams() *Datagrams {
	c.secured.Store(true)
	return &Datagrams{c: c}
}

// ReadBatch implements transport.DatagramConn.
func (d *Datagrams) ReadBatch(ctx context.Context, dst []transport.Datagram) (int, error) {
	for {
		n, err := d.take(dst)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-d.c.readable:
		case <-d.c.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (d *Datagrams) take(dst []transport.Datagram) (n int, err error) {
	c := d.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return 0, net.ErrClosed
	}
	d.arena = d.arena[:0]
	for n < len(dst) && c.in.n > 0 {
		from, size := len(d.arena), int(c.in.sizes[c.in.head])
		d.arena = slices.Grow(d.arena, size)[:from+size]
		msg := d.arena[from : from+size : from+size]
		c.in.pop(msg)
		dst[n] = transport.Datagram{Peer: c.remote.AddrPort(), Data: msg}
		n++
	}
	switch {
	case n > 0 || !c.ended:
		return n, nil
	case c.err == nil:
		return 0, io.EOF
	}
	return 0, c.err
}

// WriteBatch implements transport.DatagramConn. It waits a little for room in
// the queue, never for what stands there. A repetition of a handshake's flight
// is left out while the last one still waits: it was not lost, it has not even
// been sent (RFC 5238, Section 3.3, SHOULD).
func (d *Datagrams) WriteBatch(batch []transport.Datagram) (n int, err error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	waits := d.flightWaits()
	for n < len(batch) {
		m, err := d.tryQueueAll(batch[n:], waits)
		n += m
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrQueueFull) {
			return n, tooLarge(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err = d.queue(ctx, batch[n].Data)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return n, transport.ErrBusy
		case err != nil:
			return n, tooLarge(err)
		}
		n++
	}
	return n, nil
}

// Transmit writes a datagram of a handshake and returns when it stands in no
// queue any more: DTLS, which repeats it, starts its timer then (RFC 5238,
// Section 3.3).
func (d *Datagrams) Transmit(ctx context.Context, g transport.Datagram) error {
	id, err := d.queue(ctx, g.Data)
	if err != nil {
		return tooLarge(err)
	}
	return d.c.left(ctx, id)
}

func tooLarge(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return transport.ErrTooLarge
	}
	return err
}

// queue gives the connection a message, and waits for room until ctx ends.
func (d *Datagrams) queue(ctx context.Context, msg []byte) (id uint64, err error) {
	for {
		if id, err = d.tryQueue(msg); !errors.Is(err, ErrQueueFull) {
			signal(d.c.writable) // others may wait as well
			return id, err
		}
		if err := d.c.room(ctx.Done()); err != nil {
			return 0, ctxError(ctx, err)
		}
	}
}

// tryQueue is queue without any wait.
func (d *Datagrams) tryQueue(msg []byte) (id uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, err = d.c.tryQueue(msg); err == nil {
		d.note(id, msg)
	}
	return id, err
}

// tryQueueAll queues datagrams as far as there is room, those of a handshake
// only unless it waits; what congestion control lets go leaves together.
func (d *Datagrams) tryQueueAll(batch []transport.Datagram, waits bool) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.c
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for n < len(batch) {
		msg := batch[n].Data
		if !waits || !isHandshake(msg) {
			if err = c.take(now, msg); err != nil {
				break
			}
			d.note(c.next, msg)
		}
		n++
	}
	if n > 0 {
		c.drive(now)
	}
	return n, err
}

// flightWaits tells whether a handshake's last message stands in the queue.
func (d *Datagrams) flightWaits() bool {
	d.mu.Lock()
	flight := d.flight
	d.mu.Unlock()
	return flight > 0 && d.c.queued(flight)
}

// note keeps what a message was; d.mu is held, so that nobody learns its fate
// before.
func (d *Datagrams) note(id uint64, msg []byte) {
	switch {
	case isHandshake(msg):
		d.flight = id
	case isData(msg):
		d.data.sent(id)
	}
}

// Fates is Conn.Fates for those messages that hold application data, counted
// from 1 in the order in which WriteBatch took them: what transport.Tracker
// tells of a DTLS session. One goroutine calls it.
func (d *Datagrams) Fates(dst []transport.Fate) []transport.Fate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.data.tell(dst, d.c.Fates)
}

// isHandshake tells by a DTLS record's content type: change_cipher_spec or
// handshake.
func isHandshake(b []byte) bool { return len(b) > 0 && (b[0] == 20 || b[0] == 22) }

// isData tells DTLS's application data.
func isData(b []byte) bool { return len(b) > 0 && b[0] == 23 }

// LocalAddr implements transport.DatagramConn: our address and DCCP port.
func (d *Datagrams) LocalAddr() netip.AddrPort { return d.c.local.AddrPort() }

// MaxDatagram implements transport.DatagramConn: the MPS in force.
func (d *Datagrams) MaxDatagram(netip.AddrPort) int { return d.c.MPS() }

// SocketDrops implements transport.DatagramConn: messages for which there was
// no room.
func (d *Datagrams) SocketDrops() uint64 { return d.c.Stats().DataOverflow }

// ResetMTU is Conn.ResetMTU: DTLS forgets what it knew of the path, and its
// carrier does with it (RFC 5238, Section 3.5, SHOULD).
func (d *Datagrams) ResetMTU() { d.c.ResetMTU() }

// Unreachable implements transport.DatagramConn.
func (d *Datagrams) Unreachable() uint64 { return d.c.e.io.Unreachable() }

// closeWait is how long the end of a connection is waited for by those who
// have no context.
const closeWait = time.Second

// Close implements transport.DatagramConn.
func (d *Datagrams) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = d.c.Shutdown(ctx) // it ends by itself
	return nil
}

// Abort is Conn.Abort: nobody is waited for.
func (d *Datagrams) Abort() error { return d.c.Abort() }

// Connections are what a Listener accepts, as carriers of datagrams: what
// transport/dtls serves sessions on. Close closes the Listener, then calls
// Release.
type Connections struct {
	Listener *Listener
	Release  func() error // may be nil
}

// Accept waits for the next connection.
func (s *Connections) Accept(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
	c, err := s.Listener.accept(ctx)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return c.Datagrams(), c.remote.AddrPort(), nil
}

// Addr is the address and DCCP port listened on.
func (s *Connections) Addr() netip.AddrPort { return s.Listener.Addr().(Addr).AddrPort() }

// Close ends the listening.
func (s *Connections) Close() error {
	err := s.Listener.Close()
	if s.Release != nil {
		err = errors.Join(err, s.Release())
	}
	return err
}
