package dtls

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls/record"
)

const (
	// sendBatch is how many messages one WriteBatch takes at most.
	sendBatch = 64
)

// session is the exporter's end; it implements transport.Session. Its reader
// goroutine ends when the carrier fails or end cancels it.
type session struct {
	*association
	cfg  Config
	base transport.Properties
	who  transport.Peer
	kept []place
	id   []byte // of the resumable session

	// Under association.wmu.
	buf   []byte
	batch []transport.Datagram

	// probing holds a token while no probe is under way: RFC 6520 allows one
	// request in flight. Whoever has the token has the timer.
	probing chan struct{}
	timer   *heartbeat.Timer
	path    pathProbe
	pmu     sync.Mutex
	payload []byte        // awaited
	answer  chan struct{} // closed when it came

	stop    context.CancelFunc // of the reader
	reader  chan struct{}      // closed when the reader ended
	endOnce sync.Once
	done    chan struct{}
	err     error

	drops *dropCounters
	sent  atomic.Uint64
	bytes atomic.Uint64
	fails atomic.Uint64
	pings struct{ sent, answered, received, answers atomic.Uint64 }
	rtt   atomic.Int64
}

// Send implements transport.Session. A batch is sealed into one buffer, record
// behind record, so that a carrier may hand equal sizes to the system at once.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	for len(batch) > 0 {
		if s.closed {
			return n, s.sendErr()
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := s.sendSome(batch[:min(len(batch), sendBatch)])
		n += k
		if err != nil {
			return n, err
		}
		batch = batch[k:]
	}
	return n, nil
}

// sendSome seals and writes up to sendBatch messages.
func (s *session) sendSome(batch []transport.Outgoing) (int, error) {
	limit := s.MaxMessage()
	overhead := s.sealer.Overhead()
	size, fits := 0, len(batch)
	for i, m := range batch {
		if len(m.Data) > limit {
			fits = i
			break
		}
		size += len(m.Data) + overhead
	}
	s.buf = slices.Grow(s.buf[:0], size)
	s.batch = s.batch[:0]
	for _, m := range batch[:fits] {
		at := len(s.buf)
		var err error
		if s.buf, err = s.sealer.Seal(s.buf, record.ApplicationData, m.Data); err != nil {
			if len(s.batch) == 0 {
				return 0, err
			}
			break
		}
		s.batch = append(s.batch, transport.Datagram{Peer: s.remote, Data: s.buf[at:len(s.buf):len(s.buf)]})
	}
	n, err := s.writeAll(s.batch)
	for _, m := range batch[:n] {
		s.bytes.Add(uint64(len(m.Data)))
	}
	s.sent.Add(uint64(n))
	switch {
	case errors.Is(err, syscall.EMSGSIZE):
		s.fails.Add(1)
		return n, fmt.Errorf("%w: %w", transport.ErrTooLarge, err)
	case err != nil:
		s.fails.Add(1)
		return n, err
	case n == fits && fits < len(batch):
		return n, transport.ErrTooLarge
	}
	return n, nil
}

// writeAll writes until the carrier refuses twice: the first refusal of a
// connected socket may be an ICMP error of an earlier datagram, which anybody
// can forge.
func (s *session) writeAll(batch []transport.Datagram) (n int, err error) {
	for retried := false; n < len(batch); {
		k, err := s.conn.WriteBatch(batch[n:])
		n += k
		switch {
		case err == nil && k == 0:
			return n, errors.New("carrier took no datagram")
		case err == nil || k > 0:
			retried = false
		case retried || !errors.Is(err, syscall.ECONNREFUSED):
			return n, err
		default:
			retried = true
		}
	}
	return n, nil
}

func (s *session) sendErr() error {
	select {
	case <-s.done:
		if s.err != nil {
			return s.err
		}
	default:
	}
	return transport.ErrClosed
}

// MaxMessage implements transport.Session.
func (s *session) MaxMessage() int {
	return max(min(s.path.limit(s.conn.MaxDatagram(s.remote))-s.sealer.Overhead(), record.MaxContent), 0)
}

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties {
	p := s.base
	p.Secure, p.Streams = true, max(p.Streams, 1)
	if s.mode == heartbeat.PeerAllowed {
		p.Confirms = transport.ConfirmProcess
	}
	return p
}

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.who }

// Done implements transport.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements transport.Session.
func (s *session) Err() error {
	select {
	case <-s.done:
		if !errors.Is(s.err, transport.ErrClosed) {
			return s.err
		}
	default:
	}
	return nil
}

// Close implements transport.Session.
func (s *session) Close(ctx context.Context) error {
	s.end(transport.ErrClosed)
	select {
	case <-s.reader:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end closes the association with close_notify and stops the reader; the first
// reason stays.
func (s *session) end(reason error) {
	s.endOnce.Do(func() {
		s.err = reason
		// A session that ended by a fatal alert must not be resumed (RFC 5246,
		// Section 7.2.2).
		if _, fatal := errors.AsType[*AlertError](reason); fatal {
			for _, p := range s.kept {
				p.cache.del(p.key, s.id)
			}
		}
		s.close(alertWarning, alertCloseNotify)
		close(s.done)
		s.stop()
	})
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	return transport.SessionStats{
		MessagesSent: s.sent.Load(), BytesSent: s.bytes.Load(), SendErrors: s.fails.Load(),
		ProbesSent: s.pings.sent.Load(), ProbesAnswered: s.pings.answered.Load(),
		ProbesReceived: s.pings.received.Load(), ProbeAnswers: s.pings.answers.Load(),
		RecordsDropped: s.drops.total(), RTT: time.Duration(s.rtt.Load()),
		UnreachableHints: s.conn.Unreachable(),
	}
}

// receive takes one datagram of the peer; only the reader calls it.
func (s *session) receive(b []byte, now time.Time) {
	for len(b) > 0 {
		h, rec, rest, ok := record.Next(b, s.opener.CIDLen())
		if !ok {
			s.drops.add(dropMalformed)
			return
		}
		b = rest
		if h.Epoch == 0 && h.Type == record.Handshake && s.repeatFlight(now) {
			continue
		}
		t, content, why, ok := s.open(h, rec)
		if !ok {
			s.drops.add(why)
			continue
		}
		switch t {
		case record.Heartbeat:
			s.heartbeat(content)
		case record.Alert:
			if err := Ended(content); err != nil {
				s.end(err)
				return
			}
		case record.Handshake:
			// A repeated Finished; a HelloRequest is not followed, there is no
			// renegotiation.
			if len(content) > 0 && content[0] == typeFinished {
				s.repeatFlight(now)
			}
		default:
			// A Collecting Process sends no messages.
			s.drops.add(dropUnexpected)
		}
	}
}
