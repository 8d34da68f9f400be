package sctp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

const (
	// keyGrace is how long the peer may take to install the new key: what
	// arrives under it before that is discarded, and costs a retransmission
	// timeout. Its own ChangeCipherSpec shows that it has it.
	keyGrace = 20 * time.Millisecond
	// lastWordMost bounds the wait for our alert to arrive.
	lastWordMost = 500 * time.Millisecond
	// maxEarly and maxEarlyBytes bound protected records that are here before
	// the handshake is over; what comes beyond waits in the association.
	maxEarly      = 256
	maxEarlyBytes = 256 << 10
)

var (
	errNoAuth    = errors.New("the peer does not authenticate its DATA by SCTP-AUTH (RFC 4895), without which there is no DTLS over SCTP")
	errPlaintext = errors.New("unprotected data")
)

// handshake is DTLS on an association in the making: the consumer of the pump
// and the carrier of the records (RFC 6083).
type handshake struct {
	c    *carrier
	pump *pump
	hs   *dtls.Handshake
	old  uint16 // key id
	new  uint16

	cancel context.CancelCauseFunc
	once   sync.Once
	// switched is closed by the peer's ChangeCipherSpec.
	switched chan struct{}

	// Under the pump's lock.
	failed     error
	alert      error // what the peer said before it ended the association
	early      []Message
	earlyBytes int
}

// secure makes an association one with DTLS. The handshake still receives:
// who takes over turns the pump to a session by handOver. On an error the
// association is gone.
func secure(ctx context.Context, a Association, cfg *dtls.Config, client bool) (*handshake, *dtls.Established, error) {
	h := &handshake{c: &carrier{assoc: a, turn: newTurn()}, pump: new(pump), new: 1, switched: make(chan struct{})}
	// The connection fails closed: nothing is said in the open to a peer that
	// would take unauthenticated DATA (RFC 6083, Section 4.5, MUST).
	chunks, err := a.PeerAuthChunks()
	if err == nil && !slices.Contains(chunks, ChunkData) {
		err = errNoAuth
	}
	if err == nil {
		h.hs, err = dtls.NewHandshake(*cfg, client, a.LocalAddr(), a.RemoteAddr(), h)
	}
	if err != nil {
		a.Abort(err.Error())
		return nil, nil, err
	}
	ctx, h.cancel = context.WithCancelCause(ctx)
	defer h.cancel(nil)
	h.pump.start(a, h)
	e, err := h.hs.Run(ctx)
	if err == nil {
		// The peer's Finished is here: the old key has done its work (RFC 6083,
		// Section 4.8). A stack that has to keep it a while longer may.
		_ = a.DeleteKey(h.old)
		h.c.tls = &secured{sealer: e.Sealer, opener: e.Opener, mode: e.Mode, answers: e.Answers}
		return h, e, nil
	}
	h.lastWord(ctx, err)
	a.Abort(err.Error())
	h.pump.turnTo(nobody{}, func() {}) // it may wait for a session
	h.pump.wg.Wait()
	return nil, nil, err
}

// lastWord gives our alert, which says why, the time to arrive before ABORT.
func (h *handshake) lastWord(ctx context.Context, reason error) {
	if context.Cause(ctx) != nil && !errors.Is(reason, context.DeadlineExceeded) {
		return // the association or our own side ended it
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordMost)
	defer cancel()
	_ = h.c.assoc.Drain(ctx)
}

// partial tells whether messages may be given up: that is authenticated too, or
// not done (RFC 6083, Section 4.5, MUST).
func partial(a Association) bool {
	chunks, err := a.PeerAuthChunks()
	return err == nil && slices.Contains(chunks, ChunkForwardTSN)
}

// handOver turns to a session, beginning with what came early.
func (h *handshake) handOver(to consumer) {
	h.pump.turnTo(to, func() {
		if h.failed != nil { // meanwhile
			to.abort(h.failed)
			return
		}
		for i := range h.early {
			to.take(&Event{Kind: EventMessage, Message: h.early[i]})
		}
		h.early = nil
	})
}

// nobody is told what comes after a failed handshake.
type nobody struct{}

func (nobody) take(*Event) {}
func (nobody) abort(error) {}
func (nobody) ended(error) {}

// abort implements consumer: it fails the handshake; the first reason stays.
func (h *handshake) abort(err error) {
	h.failed = err
	h.cancel(err)
}

// waits implements gate: a peer whose data comes quicker than our handshake
// ends has to wait, once that much is here.
func (h *handshake) waits(ev *Event) bool {
	if ev.Kind != EventMessage || len(h.early) < maxEarly && h.earlyBytes+len(ev.Message.Data) <= maxEarlyBytes {
		return false
	}
	hdr, err := checkMessage(ev.Message)
	return err == nil && isEarly(hdr)
}

// isEarly tells what is the session's from what is the handshake's. On stream
// 0 an alert of the new epoch is behind the peer's Finished.
func isEarly(h record.Header) bool { return h.Epoch == 1 && h.Type != record.Handshake }

// take implements consumer.
func (h *handshake) take(ev *Event) {
	switch ev.Kind {
	case EventMessage:
		if err := h.received(ev.Message); err != nil {
			h.abort(err)
		}
	case EventPeerShutdown:
		h.over(transport.ErrPeerClosed)
	case EventRestart:
		h.abort(errRestart)
	}
}

// ended implements consumer.
func (h *handshake) ended(err error) {
	h.pump.mu.Lock()
	defer h.pump.mu.Unlock()
	h.over(err)
}

// over fails the handshake because the association ends: what the peer said
// before says more. Nobody else could have said it: the association is under
// way, and this is about its end only.
func (h *handshake) over(err error) {
	if h.alert != nil {
		err = h.alert
	}
	h.cancel(err)
}

func (h *handshake) received(m Message) error {
	hdr, err := checkMessage(m)
	switch {
	case err != nil:
		return err
	case isEarly(hdr):
		// It has overtaken the peer's Finished, or our own goroutine (RFC 6083,
		// Section 4.7, MUST: it is kept).
		m.Data = bytes.Clone(m.Data)
		h.early = append(h.early, m)
		h.earlyBytes += len(m.Data)
		return nil
	case hdr.Epoch > 1:
		return record.ErrEpoch
	case hdr.Epoch == 0 && hdr.Type != record.ChangeCipherSpec && hdr.Type != record.Alert && hdr.Type != record.Handshake:
		return fmt.Errorf("%w: record of type %d", errPlaintext, hdr.Type)
	case hdr.Type == record.Alert && hdr.Epoch == 0:
		if err := dtls.Ended(m.Data[record.HeaderLen:]); err != nil {
			h.alert = err
		}
	case hdr.Type == record.ChangeCipherSpec:
		h.once.Do(func() { close(h.switched) })
	}
	return h.hs.Push(m.Data)
}

// SendRecord implements dtls.Ordered.
func (h *handshake) SendRecord(ctx context.Context, rec []byte) error {
	return h.c.sendControl(ctx, rec)
}

// Key implements dtls.Ordered: the new key is there before the peer can use it
// (RFC 6083, Section 4.8).
func (h *handshake) Key(key []byte) error { return h.c.assoc.SetKey(h.new, key) }

// ChangeCipherSpec implements dtls.Ordered. Everything before it has been
// acknowledged (RFC 6083, Section 4.7, MUST), it goes under the old key, and
// Finished behind it under the new one (Section 4.8, MUST).
func (h *handshake) ChangeCipherSpec(ctx context.Context, rec []byte) error {
	grace := time.NewTimer(keyGrace)
	defer grace.Stop()
	if err := h.c.assoc.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-h.switched:
	case <-grace.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := h.c.sendControl(ctx, rec); err != nil {
		return err
	}
	return h.c.assoc.ActivateKey(h.new)
}
