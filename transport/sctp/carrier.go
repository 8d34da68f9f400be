package sctp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// partGrace is how long the peer has to answer a close_notify.
const partGrace = time.Second

// carrier is an association, with or without DTLS on it: what both ends of a
// session have in common.
type carrier struct {
	assoc Association
	tls   *secured // nil: in the clear

	// turn lets one send at a time: records are sent in the order in which they
	// were sealed. Who has it owns what follows.
	turn  turn
	buf   []byte
	batch []Message
	count uint64 // messages that assoc took
	// closing: the end has begun, nothing more is sent but close_notify.
	closing bool
	// parted is closed by the peer's close_notify, done by the association's
	// end.
	parted, done chan struct{}
	hush         sync.Once // for parted
	// noted, if not nil, is told the positions of messages that are no data.
	noted func(position uint64)
	// strayed: data went out on other streams than 0 since all of it was last
	// known to have arrived.
	strayed bool
}

// securePeer is the peer of a session under DTLS.
func securePeer(a Association, scheme string, e *dtls.Established) transport.Peer {
	p := plainPeer(a, scheme)
	p.Identity = e.Identity
	return p
}

// turn is a lock whose wait a context ends.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}: // free, though ctx may have ended
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }

// overhead is what DTLS adds to a message.
func (c *carrier) overhead() int {
	if c.tls == nil {
		return 0
	}
	return c.tls.sealer.Overhead()
}

// maxMessage is the largest message of the application: 2^14 octets under DTLS
// (RFC 6083, Section 1.1).
func (c *carrier) maxMessage() int {
	most := c.assoc.MaxMessage()
	if c.tls != nil {
		most = min(most-c.overhead(), record.MaxContent)
	}
	return max(most, 0)
}

// pack makes the user messages for data, each in one record of its own (RFC
// 6083, Section 4.1, MUST), on the stream on which it would go in the clear
// (RFC 7011, Section 11.1). The caller has
// the turn.
func (c *carrier) pack(batch []Message) ([]Message, error) {
	if c.tls == nil {
		return batch, nil
	}
	size, overhead := 0, c.overhead()
	for _, m := range batch {
		size += len(m.Data) + overhead
	}
	c.buf = slices.Grow(c.buf[:0], size)
	for i := range batch {
		at := len(c.buf)
		var err error
		if c.buf, err = c.tls.sealer.Seal(c.buf, record.ApplicationData, batch[i].Data); err != nil {
			return batch[:i], err
		}
		batch[i].Data = c.buf[at:len(c.buf):len(c.buf)]
	}
	return batch, nil
}

// send hands data over; the caller has the turn.
func (c *carrier) send(ctx context.Context, batch []Message) (n int, err error) {
	packed, sealErr := c.pack(batch)
	if len(packed) > 0 {
		n, err = c.assoc.Send(ctx, packed)
		c.count += uint64(n)
		for _, m := range packed[:n] {
			c.strayed = c.strayed || m.Stream != 0
		}
	}
	if err == nil {
		err = sealErr
	}
	return n, err
}

// sendRecord seals and sends one record that is no data: on stream 0, in order
// and reliably (RFC 6083, Section 4.4, MUST). The caller has
// the turn.
func (c *carrier) sendRecord(ctx context.Context, t record.Type, content []byte) error {
	b, err := c.tls.sealer.Seal(nil, t, content)
	if err != nil {
		return err
	}
	return c.sendControl(ctx, b)
}

// sendControl sends what is no data of the application's.
func (c *carrier) sendControl(ctx context.Context, rec []byte) error {
	n, err := c.assoc.Send(ctx, []Message{{Immediate: true, Data: rec}})
	if n > 0 {
		c.count++
		if c.noted != nil {
			c.noted(c.count)
		}
	}
	return err
}

// settle waits until everything sent before has arrived, where it went on
// several streams, between which there is no order. The caller has
// the turn.
func (c *carrier) settle(ctx context.Context) error {
	if !c.strayed {
		return nil
	}
	if err := c.assoc.Drain(ctx); err != nil {
		return err
	}
	c.strayed = false
	return nil
}

// open reads a message: its type and content.
func (c *carrier) open(m Message) (record.Type, []byte, error) {
	if c.tls == nil {
		return record.ApplicationData, m.Data, nil
	}
	return c.tls.open(m)
}

// plainPeer is the peer of a session in the clear.
func plainPeer(a Association, scheme string) transport.Peer {
	return transport.Peer{
		Identity: a.RemoteAddr().Addr().String(), Remote: a.RemoteAddr(), Local: a.LocalAddr(),
		Scheme: scheme, Session: transport.NewSessionNumber(),
	}
}

// part begins the orderly end, once: close_notify behind everything else, then
// SHUTDOWN. Errors are the end come earlier.
func (c *carrier) part(ctx context.Context) {
	if c.turn.take(ctx) != nil {
		return
	}
	first := !c.closing
	c.closing = true
	c.turn.give()
	if !first {
		return
	}
	// All that was sent must have been acknowledged first (RFC 6083, Section
	// 4.9, MUST). Whoever has no turn now will not get one.
	if c.tls != nil && c.assoc.Drain(ctx) == nil && c.turn.take(ctx) == nil {
		_ = c.sendRecord(ctx, record.Alert, closeNotify)
		c.turn.give()
		// The answer must be sent before SHUTDOWN comes, which lets the peer send
		// nothing more.
		grace := time.NewTimer(partGrace)
		defer grace.Stop()
		select {
		case <-c.parted:
		case <-c.done:
		case <-grace.C:
		case <-ctx.Done():
		}
	}
	_ = c.assoc.Shutdown()
}

// errTruncated: nobody but the peer's process can say close_notify, but its
// kernel shuts down for one that was killed, and SHUTDOWN can be forged.
var errTruncated = errors.New("the association was shut down without a close_notify")

// meant is an end as the peer meant it: under DTLS its SHUTDOWN says nothing
// without a close_notify (RFC 5246, Section 7.2.1).
func (c *carrier) meant(end error) error {
	if c.tls != nil && errors.Is(end, transport.ErrPeerClosed) {
		select {
		case <-c.parted:
		default:
			return errTruncated
		}
	}
	return end
}

// peerParted notes the peer's close_notify.
func (c *carrier) peerParted() { c.hush.Do(func() { close(c.parted) }) }

// begin makes a carrier ready for a session.
func (c *carrier) begin() {
	c.turn, c.parted, c.done = newTurn(), make(chan struct{}), make(chan struct{})
}
