package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
)

const (
	// maxMessage is what the length in a message's header can say.
	maxMessage = 65535
	minBuffer  = maxMessage + 1
	// piece is what one write takes, so much that a write costs little for an
	// octet: in TLS a record.
	piece    = 16 << 10
	plainMax = 64 << 10
	// notSent is how much of what was written the kernel holds beyond what the
	// peer's window takes.
	notSent = 128 << 10
	// patience is how long Send waits for room.
	patience = 100 * time.Millisecond
)

// errBroken stands for the kernel's reason, which another call was told.
var errBroken = errors.New("connection broke")

// session is an exporter's end.
type session struct {
	conn  *Conn
	cfg   *Config
	props transport.Properties
	out   writer

	messages, octets, stray atomic.Uint64

	ending sync.Once
	wg     sync.WaitGroup
	done   chan struct{}
	err    error // read after done
}

func newSession(c *Conn, cfg *Config) *session {
	s := &session{conn: c, cfg: cfg, done: make(chan struct{}), props: transport.Properties{
		Secure: c.tls != nil, Reliable: true, Ordered: true, Stream: true, Streams: 1, Confirms: transport.ConfirmTransport,
	}}
	s.out.init(c, cfg.Buffer)
	c.tcp.session = true
	s.wg.Go(s.read)  // ended by end, which closes the connection
	s.wg.Go(s.write) // likewise
	return s
}

// read waits for the end: a collector has nothing to say.
func (s *session) read() {
	buf := make([]byte, 512)
	for {
		n, err := s.conn.Read(buf)
		s.stray.Add(uint64(n))
		if err != nil {
			s.end(s.reason(err))
			return
		}
	}
}

func (s *session) write() {
	if err := s.out.run(); err != nil {
		s.end(s.reason(err))
	}
}

// reason words why a connection ended.
func (s *session) reason(err error) error {
	if errors.Is(err, io.EOF) {
		if !s.out.finished() && broken(s.conn.tcp.raw) {
			err = errBroken
		} else {
			return transport.ErrPeerClosed
		}
	}
	return fmt.Errorf("%s %v: %w", s.conn.Peer.Scheme, s.conn.Peer.Remote, err)
}

// Send implements transport.Session. What it took is on its way, not sent:
// Fates tells what arrived.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	var timer <-chan time.Time
	for n < len(batch) {
		m := batch[n].Data
		if len(m) > maxMessage {
			return n, transport.ErrTooLarge
		}
		room := s.out.put(m)
		if room == nil {
			n++
			s.messages.Add(1)
			s.octets.Add(uint64(len(m)))
			continue
		}
		if timer == nil {
			timer = time.After(patience)
		}
		select {
		case <-room:
		case <-timer:
			return n, transport.ErrBusy
		case <-s.done:
			return n, s.closedError()
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	select {
	case <-s.done:
		// The messages have no fate: whoever keeps them sends them again.
		return n, s.closedError()
	default:
		return n, nil
	}
}

func (s *session) closedError() error {
	if s.err != nil {
		return s.err
	}
	return transport.ErrClosed
}

// Fates implements transport.Tracker: what the peer's host has acknowledged.
func (s *session) Fates(dst []transport.Fate) []transport.Fate { return s.out.fates(dst) }

// MaxMessage implements transport.Session.
func (s *session) MaxMessage() int { return maxMessage }

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties { return s.props }

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.conn.Peer }

// Probe implements transport.Session: TCP proves nothing of the process.
func (s *session) Probe(context.Context) error { return transport.ErrNoProbe }

// Done implements transport.Session.
func (s *session) Done() <-chan struct{} { return s.done }

// Err implements transport.Session.
func (s *session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close implements transport.Session: everything taken is sent, then
// close_notify and FIN; it waits for the peer to do the same, which says that
// it has read all, no longer than ctx. A connection that broke instead is an
// error: the peer's process may have taken what its host acknowledged, or not.
// That TLS's close_notify is missing in the answer is none: many peers just
// close.
func (s *session) Close(ctx context.Context) error {
	s.out.finish()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.end(nil)
	s.wg.Wait()
	if errors.Is(s.err, transport.ErrPeerClosed) || errors.Is(s.err, ErrTruncated) {
		return nil
	}
	return s.err
}

func (s *session) end(err error) {
	s.ending.Do(func() {
		if s.out.finished() && errors.Is(err, transport.ErrPeerClosed) {
			err = nil // it answers our own end
		}
		s.out.stop()
		_ = s.conn.tcp.Close() // not tls.Conn.Close: it would wait for a write that hangs
		s.err = err
		close(s.done)
	})
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	return transport.SessionStats{MessagesSent: s.messages.Load(), BytesSent: s.octets.Load(), RecordsDropped: s.stray.Load()}
}
