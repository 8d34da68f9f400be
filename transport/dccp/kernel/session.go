package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
)

// Dialer opens sessions of plain DCCP, each on a connection of its own. It is a
// transport.Dialer.
type Dialer struct {
	To     netip.AddrPort
	Scheme string // of the endpoint
	Config Config
}

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	c, err := Dial(ctx, netip.AddrPort{}, d.To, d.Config)
	if err != nil {
		return nil, err
	}
	s := &session{c: c, who: c.peer(d.Scheme), done: make(chan struct{})}
	s.wg.Go(s.read) // ended by the connection
	return s, nil
}

// session is the exporter's end of plain DCCP. One goroutine awaits the peer's
// end.
type session struct {
	c   *Conn
	who transport.Peer
	wg  sync.WaitGroup

	once sync.Once
	done chan struct{}
	err  error // before done is closed

	busy                time.Time // since when nothing could be sent; Send's
	sent, bytes, strays atomic.Uint64
	fails               atomic.Uint64
}

// read passes over what a collector says: it has nothing to say.
func (s *session) read() {
	b := make([]byte, maxMessage)
	for {
		if _, err := s.c.Read(b); err != nil {
			s.end(ended(err))
			return
		}
		s.strays.Add(1)
	}
}

// end notes why the session is over; the first reason stays.
func (s *session) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

// Send implements transport.Session.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	for _, o := range batch {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		select {
		case <-s.done:
			return n, s.err
		default:
		}
		if err := s.c.patiently(o.Data); err != nil {
			return n, s.refused(err)
		}
		s.busy = time.Time{}
		s.sent.Add(1)
		s.bytes.Add(uint64(len(o.Data)))
		n++
	}
	return n, nil
}

// refused words why the kernel did not take a message.
func (s *session) refused(err error) error {
	switch {
	case errors.Is(err, transport.ErrBusy):
		now := time.Now()
		if s.busy.IsZero() {
			s.busy = now
		}
		if now.Sub(s.busy) >= stalled {
			err = fmt.Errorf("dccp %v: the peer's host has acknowledged nothing for %v", s.who.Remote, stalled)
			s.end(err)
		}
	case errors.Is(err, transport.ErrTooLarge), errors.Is(err, transport.ErrClosed):
	case errors.Is(err, transport.ErrPeerClosed):
		s.end(err)
	default:
		s.fails.Add(1)
		s.end(err)
	}
	return err
}

// MaxMessage implements transport.Session.
func (s *session) MaxMessage() int { return s.c.MPS() }

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties { return plain }

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.who }

// Probe implements transport.Session: plain DCCP has none.
func (s *session) Probe(context.Context) error { return transport.ErrNoProbe }

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
	err := s.c.Shutdown(ctx)
	s.wg.Wait() // what was closed is not read any more
	s.end(transport.ErrClosed)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	return transport.SessionStats{
		MessagesSent: s.sent.Load(), BytesSent: s.bytes.Load(), SendErrors: s.fails.Load(), RecordsDropped: s.strays.Load(),
	}
}
