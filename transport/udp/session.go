package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"ipfixsuite/transport"
)

// scheme is what sessions of plain UDP are called.
const scheme = "udp"

// properties of plain UDP: nothing is sure.
var properties = transport.Properties{Streams: 1}

// Dialer opens sessions of plain UDP to one address, each from a port of its
// own.
type Dialer struct {
	Remote netip.AddrPort
	Config Config
}

// Dial implements transport.Dialer. Nothing is sent; it fails only where this
// host knows no way to the address.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	c, err := Connect(ctx, d.Remote, d.Config)
	if err != nil {
		return nil, err
	}
	return newSession(c), nil
}

// sendBatch is how many messages are handed to the socket at once.
const sendBatch = 256

// session is an exporter's end of plain UDP. Its one goroutine reads what the
// network reports of the peer; Close ends it.
type session struct {
	conn *Conn
	peer transport.Peer

	mu    sync.Mutex
	batch [sendBatch]transport.Datagram

	sent, bytes, refused, stray atomic.Uint64

	closing sync.Once
	reading sync.WaitGroup
	done    chan struct{}
	err     error // read after done
}

func newSession(c *Conn) *session {
	s := &session{conn: c, done: make(chan struct{}), peer: transport.Peer{
		Identity: c.remote.Addr().String(), Remote: c.remote, Local: c.local, Scheme: scheme, Session: transport.NewSessionNumber(),
	}}
	s.reading.Go(s.read) // ended by end, which closes the socket
	return s
}

// read drains the socket: a collector has nothing to say on plain UDP, but the
// errors of ICMP arrive here.
func (s *session) read() {
	var dst [4]transport.Datagram
	for {
		n, err := s.conn.ReadBatch(context.Background(), dst[:])
		if err != nil {
			s.end(fmt.Errorf("udp %v: %w", s.peer.Remote, err))
			return
		}
		s.stray.Add(uint64(n))
	}
}

// Send implements transport.Session. What the system refuses because there is
// no way to the peer just now counts as sent and lost (SendErrors), as if the
// next router had refused it.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(batch) {
		limit := s.MaxMessage()
		m := 0
		for _, o := range batch[n:min(n+sendBatch, len(batch))] {
			if len(o.Data) > limit {
				break
			}
			s.batch[m].Data = o.Data
			m++
		}
		if m == 0 {
			return n, transport.ErrTooLarge
		}
		k, err := s.conn.write(ctx, s.batch[:m])
		for i := range k {
			s.bytes.Add(uint64(len(s.batch[i].Data)))
		}
		s.sent.Add(uint64(k))
		clear(s.batch[:m])
		n += k
		switch {
		case err == nil:
		case refusal(err):
			s.refused.Add(1)
			n++
		case errors.Is(err, net.ErrClosed):
			return n, transport.ErrClosed
		default:
			return n, err
		}
	}
	return n, nil
}

// refusal tells errors that concern the one datagram from those of the
// socket, the context, or the datagram's size.
func refusal(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && unreachable(errno)
}

// MaxMessage implements transport.Session: the path's MTU less the headers.
func (s *session) MaxMessage() int { return s.conn.MaxDatagram(s.peer.Remote) }

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties { return properties }

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.peer }

// Probe implements transport.Session: plain UDP has none.
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

// Close implements transport.Session. There is nothing to tell the peer.
func (s *session) Close(context.Context) error {
	s.end(nil)
	s.reading.Wait()
	return nil
}

func (s *session) end(err error) {
	s.closing.Do(func() {
		_ = s.conn.Close()
		s.err = err
		close(s.done)
	})
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	return transport.SessionStats{
		MessagesSent: s.sent.Load(), BytesSent: s.bytes.Load(), SendErrors: s.refused.Load(),
		RecordsDropped: s.stray.Load(), UnreachableHints: s.conn.Unreachable(),
	}
}
