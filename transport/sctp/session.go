package sctp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

const (
	// sendBatch is how many messages are handed to the association at once.
	sendBatch = 64
	// checkpoint is how long what becomes of the messages may stay unknown
	// under a load that never lets the association run dry: then Send waits
	// once until all has arrived.
	checkpoint = 2 * time.Second
	// roomMost is how long Send waits for room before it says that the peer is
	// busy.
	roomMost = 100 * time.Millisecond
	// lingerMost bounds the end of an association that the peer began.
	lingerMost = 5 * time.Second
)

// session is the exporter's end; it implements transport.Session and
// transport.Tracker. Its one goroutine receives for as long as the association
// lives; a second one may end it in order, where the peer asked for that.
type session struct {
	carrier
	cfg   SessionConfig
	who   transport.Peer
	props transport.Properties
	probe probe

	fmu   sync.Mutex
	fates fates

	// By whoever has the turn: how many messages had a fate when that was last
	// looked at, and when it was all or more than before.
	known    uint64
	progress time.Time

	pump *pump
	wg   sync.WaitGroup
	once sync.Once // for the reason
	why  error     // read after done
	end  error     // as the association told; read after done

	sent, bytes, fails, strays, hints atomic.Uint64
}

func newSession(c *carrier, p *pump, cfg SessionConfig, who transport.Peer) *session {
	out, _ := c.assoc.Streams()
	s := &session{
		cfg: cfg, who: who, pump: p, progress: time.Now(),
		props: transport.Properties{
			Secure: c.tls != nil, Reliable: true, Ordered: true, Streams: out,
			Partial:  cfg.Lifetime > 0 && c.assoc.PartialReliability(),
			Confirms: transport.ConfirmTransport,
		},
	}
	s.assoc, s.tls, s.count, s.noted = c.assoc, c.tls, c.count, s.control
	s.begin()
	s.fates.below = c.count
	if c.tls.confirms() {
		s.props.Confirms = transport.ConfirmProcess
	}
	s.probe.init()
	return s
}

// control notes a message that is none of the session's.
func (s *session) control(position uint64) {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	s.fates.other(position)
	s.fates.acknowledge(s.assoc.Acknowledged()) // whether or not somebody asks
}

// take is the session's part of the receiving goroutine.
func (s *session) take(ev *Event) {
	switch ev.Kind {
	case EventMessage:
		s.received(ev.Message)
	case EventSendFailed:
		s.fmu.Lock()
		s.fates.fail(ev.Message.Tag)
		s.fmu.Unlock()
	case EventPathDown:
		s.hints.Add(1)
	case EventPeerShutdown:
		// It takes no more; the end follows when it has what it was sent.
		s.refuse(s.meant(transport.ErrPeerClosed))
	case EventRestart:
		// What was sent is gone, and so are the Templates told: a new Transport
		// Session has to begin.
		s.abort(errRestart)
	}
}

var (
	errRestart    = errors.New("the peer began the association anew")
	errUnexpected = errors.New("the peer sent what it must not")
)

// received takes a message of the collector's: a Collecting Process sends
// none of IPFIX, under DTLS it answers heartbeats and says that it closes.
func (s *session) received(m Message) {
	t, content, err := s.open(m)
	if err != nil {
		// SCTP-AUTH has let it pass, so it is no accident (RFC 6083, Section
		// 4.5): nothing more is to be believed.
		s.abort(err)
		return
	}
	switch t {
	case record.Heartbeat:
		s.heartbeat(content)
	case record.Alert:
		s.alerted(content)
	case record.ApplicationData:
		s.strays.Add(1)
	default:
		s.abort(errUnexpected)
	}
}

// alerted takes an alert. A close_notify is answered by one, and by SHUTDOWN.
func (s *session) alerted(content []byte) {
	switch err := dtls.Ended(content); {
	case err == nil:
	case errors.Is(err, transport.ErrPeerClosed):
		s.refuse(err)
		s.peerParted()
		s.peerParts()
	default:
		s.abort(err)
	}
}

// abort implements consumer.
func (s *session) abort(reason error) {
	s.refuse(reason)
	s.assoc.Abort(reason.Error())
}

// ended is the end of the receiving goroutine.
func (s *session) ended(err error) {
	s.end = s.meant(err)
	s.refuse(s.end)
	s.fmu.Lock()
	s.fates.acknowledge(s.assoc.Acknowledged())
	s.fmu.Unlock()
	s.assoc.Abort("") // frees what is left of it
	close(s.done)
}

// refuse notes why the session ends and lets nothing more be sent; the first
// reason stays.
func (s *session) refuse(reason error) {
	s.once.Do(func() { s.why = reason })
}

// over says why nothing can be sent any more; nil while it can.
func (s *session) over() error {
	select {
	case <-s.done:
		if s.why != nil {
			return s.why
		}
		return transport.ErrClosed
	default:
		return nil
	}
}

// Send implements transport.Session. What there is room for is taken without
// further ado; for the rest it waits a moment.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	n, err = s.sendBatch(atOnce, batch)
	if !errors.Is(err, context.Canceled) {
		return n, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, roomMost, transport.ErrBusy)
	defer cancel()
	k, err := s.sendBatch(ctx, batch[n:])
	if err != nil && errors.Is(context.Cause(ctx), transport.ErrBusy) {
		err = transport.ErrBusy
	}
	return n + k, err
}

// sendBatch sends until ctx ends; with one that has ended, it never waits.
func (s *session) sendBatch(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	if err := s.turn.take(ctx); err != nil {
		return 0, err
	}
	defer s.turn.give()
	for len(batch) > 0 {
		if err := s.over(); err != nil {
			return n, err
		}
		if s.closing {
			return n, transport.ErrClosed
		}
		if err := s.checkpoint(ctx); err != nil {
			return n, err
		}
		k, err := s.sendSome(ctx, batch[:min(len(batch), sendBatch)])
		n += k
		if err != nil {
			return n, err
		}
		batch = batch[k:]
	}
	return n, nil
}

// sendSome sends up to sendBatch messages; the caller has the turn.
func (s *session) sendSome(ctx context.Context, batch []transport.Outgoing) (int, error) {
	limit := s.maxMessage()
	s.batch = s.batch[:0]
	s.fmu.Lock()
	next := s.fates.taken + 1
	// So many may be sent, and fail, before Send has returned.
	s.fates.taken += uint64(len(batch))
	s.fmu.Unlock()
	for i, o := range batch {
		if len(o.Data) > limit || int(o.Stream) >= s.props.Streams {
			break
		}
		m := Message{Stream: o.Stream, Data: o.Data, Tag: tag(next + uint64(i))}
		if o.Unreliable {
			m.Lifetime = s.cfg.Lifetime
		}
		s.batch = append(s.batch, m)
	}
	n, err := s.send(ctx, s.batch)
	s.fmu.Lock()
	s.fates.taken = next - 1 + uint64(n)
	s.fmu.Unlock()
	clear(s.batch) // the data is the caller's
	for _, o := range batch[:n] {
		s.bytes.Add(uint64(len(o.Data)))
	}
	s.sent.Add(uint64(n))
	switch {
	case err != nil:
		if ctx.Err() == nil || !errors.Is(err, context.Cause(ctx)) {
			s.fails.Add(1)
		}
		return n, err
	case n == len(batch):
		return n, nil
	case len(batch[n].Data) > limit:
		return n, transport.ErrTooLarge
	}
	return n, fmt.Errorf("stream %d: %w", batch[n].Stream, ErrStream)
}

// checkpoint waits, once in a while, until it is known what became of all
// that was sent; the caller has the turn.
func (s *session) checkpoint(ctx context.Context) error {
	now := time.Now()
	acknowledged := s.assoc.Acknowledged()
	if acknowledged > s.known || acknowledged == s.count {
		s.known, s.progress = acknowledged, now
		return nil
	}
	if now.Sub(s.progress) < checkpoint {
		return nil
	}
	if err := s.assoc.Drain(ctx); err != nil {
		return err
	}
	s.progress = now
	return nil
}

// Fates implements transport.Tracker.
func (s *session) Fates(dst []transport.Fate) []transport.Fate {
	s.fmu.Lock()
	defer s.fmu.Unlock()
	select {
	case <-s.done:
	default:
		s.fates.acknowledge(s.assoc.Acknowledged())
	}
	return s.fates.fetch(dst)
}

// MaxMessage implements transport.Session.
func (s *session) MaxMessage() int { return s.maxMessage() }

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties { return s.props }

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.who }

// Done implements transport.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements transport.Session.
func (s *session) Err() error {
	select {
	case <-s.done:
		if !errors.Is(s.why, transport.ErrClosed) {
			return s.why
		}
	default:
	}
	return nil
}

// Close implements transport.Session. Its error is also that the association
// did not end in order: what the peer's host had acknowledged may not have been
// taken.
func (s *session) Close(ctx context.Context) error {
	s.refuse(transport.ErrClosed)
	err := s.finish(ctx)
	s.wg.Wait()
	s.pump.wg.Wait()
	return err
}

// finish ends the association in order, and with force when ctx ends.
func (s *session) finish(ctx context.Context) error {
	s.part(ctx)
	select {
	case <-s.done:
		if errors.Is(s.why, transport.ErrClosed) && !errors.Is(s.end, transport.ErrClosed) && !errors.Is(s.end, transport.ErrPeerClosed) {
			return s.end
		}
		return nil
	case <-ctx.Done():
		s.assoc.Abort("closed in a hurry")
		<-s.done
		return context.Cause(ctx)
	}
}

// peerParts ends the association beside the receiving goroutine.
func (s *session) peerParts() {
	s.wg.Go(func() { // ended by lingerMost
		ctx, cancel := context.WithTimeout(context.Background(), lingerMost)
		defer cancel()
		_ = s.finish(ctx)
	})
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	a := s.assoc.Stats()
	return transport.SessionStats{
		MessagesSent: s.sent.Load(), BytesSent: s.bytes.Load(), SendErrors: s.fails.Load(),
		ProbesSent: s.probe.sent.Load(), ProbesAnswered: s.probe.answered.Load(),
		ProbesReceived: s.probe.received.Load(), ProbeAnswers: s.probe.answers.Load(),
		RecordsDropped: s.strays.Load() + a.Dropped, RTT: a.RTT, UnreachableHints: s.hints.Load(),
	}
}
