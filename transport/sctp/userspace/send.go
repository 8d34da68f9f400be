package userspace

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

// errEmpty: SCTP has no user messages without data (RFC 9260, Section 3.3.1).
var errEmpty = errors.New("empty SCTP message")

// Send implements sctp.Association.
func (a *association) Send(ctx context.Context, batch []sctp.Message) (n int, err error) {
	select {
	case a.sending <- struct{}{}:
		defer func() { <-a.sending }()
	case <-ctx.Done():
		// It may be free all the same.
		select {
		case a.sending <- struct{}{}:
			defer func() { <-a.sending }()
		default:
			return 0, context.Cause(ctx)
		}
	}
	now := time.Now()
	for i := range batch {
		if err := a.send(ctx, now, &batch[i]); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// send hands one message over. Only one runs at a time, so that pion gets
// messages in the order in which the shim enters them.
func (a *association) send(ctx context.Context, now time.Time, m *sctp.Message) error {
	switch {
	case len(m.Data) == 0:
		return errEmpty
	case len(m.Data) > maxMessage:
		return transport.ErrTooLarge
	case m.Stream >= a.terms.Out:
		return sctp.ErrStream
	}
	e := shim.Message{
		Stream: m.Stream, PPID: m.PPID, Tag: m.Tag, Size: len(m.Data),
		Unordered: m.Unordered, Immediate: m.Immediate,
	}
	if m.Lifetime > 0 {
		e.Deadline = now.Add(m.Lifetime)
	}
	if err := a.enter(ctx, &e); err != nil {
		return err
	}
	st := a.streams.get(m.Stream)
	if st != nil {
		if _, err := st.WriteSCTP(m.Data, 0); err == nil {
			a.messagesSent.Add(1)
			a.bytesSent.Add(uint64(len(m.Data)))
			return nil
		}
	}
	// Pion takes nothing more: the association is ending.
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended() {
		return a.endError(a.core.End())
	}
	a.core.Unenter()
	return transport.ErrPeerClosed
}

// enter waits for room and enters the message.
func (a *association) enter(ctx context.Context, e *shim.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for {
		switch held := a.core.Buffered(); {
		case a.ended():
			return a.endError(a.core.End())
		case a.closing:
			return transport.ErrClosed
		case held == 0 || held+e.Size <= a.cfg.SendBuffer:
			a.core.Enter(e)
			return nil
		}
		if err := a.wait(ctx); err != nil {
			return err
		}
	}
}

// wait waits for a change; a.mu is held, but not while it waits.
func (a *association) wait(ctx context.Context) error {
	changed := a.changed.next()
	a.mu.Unlock()
	defer a.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Drain implements sctp.Association.
func (a *association) Drain(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for entered := a.core.Entered(); a.core.Settled() < entered; {
		if err := a.wait(ctx); err != nil {
			return err
		}
	}
	if end := a.core.End(); end.Reason != shim.EndNone && end.Reason != shim.EndShutdown {
		return a.endError(end)
	}
	return nil
}

// Acknowledged implements sctp.Association.
func (a *association) Acknowledged() uint64 {
	a.mu.Lock()
	settled := a.core.Settled()
	a.mu.Unlock()
	return a.rx.acknowledged(settled)
}

// Heartbeat implements sctp.Association.
func (a *association) Heartbeat(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	signs := a.core.Signs()
	now := time.Now()
	a.core.Probe(now)
	a.flush(now)
	for a.core.Signs() == signs {
		if a.ended() {
			return a.endError(a.core.End())
		}
		if err := a.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// SetKey implements sctp.Association.
func (a *association) SetKey(id uint16, key []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.core.SetKey(id, key); err != nil {
		return err
	}
	for {
		p, ok := a.core.Held()
		if !ok {
			return nil
		}
		if !a.in.put(append(take(len(p)), p...)) {
			a.queueDrops.Add(1)
		}
	}
}

// ActivateKey implements sctp.Association.
func (a *association) ActivateKey(id uint16) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.core.ActivateKey(id)
}

// DeleteKey implements sctp.Association.
func (a *association) DeleteKey(id uint16) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.core.DeleteKey(id)
}

// PeerAuthChunks implements sctp.Association.
func (a *association) PeerAuthChunks() ([]byte, error) {
	if a.terms.Auth == nil {
		return nil, nil
	}
	return a.terms.Auth.Theirs.Types(), nil
}

// Streams implements sctp.Association.
func (a *association) Streams() (out, in int) { return int(a.terms.Out), int(a.terms.In) }

// PartialReliability implements sctp.Association.
func (a *association) PartialReliability() bool { return a.terms.ForwardTSN }

// MaxMessage implements sctp.Association.
func (a *association) MaxMessage() int { return maxMessage }

// LocalAddr implements sctp.Association.
func (a *association) LocalAddr() netip.AddrPort { return a.local }

// RemoteAddr implements sctp.Association.
func (a *association) RemoteAddr() netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return netip.AddrPortFrom(a.remote.Addr(), a.terms.PeerPort)
}

// Stats implements sctp.Association.
func (a *association) Stats() sctp.Stats {
	a.mu.Lock()
	c, rtt := a.core.Counts(), a.core.RTT()
	a.mu.Unlock()
	a.rx.mu.Lock()
	messages, octets := a.rx.messages, a.rx.octets
	a.rx.mu.Unlock()
	return sctp.Stats{
		MessagesSent: a.messagesSent.Load(), BytesSent: a.bytesSent.Load(),
		MessagesReceived: messages, BytesReceived: octets,
		Abandoned:     c.Abandoned,
		Retransmitted: c.Retransmitted,
		Dropped:       c.Drops.Total() + a.queueDrops.Load(),
		RTT:           rtt,
	}
}
