package kernel

import (
	"cmp"
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
	// DeadAfter is how long nothing may leave the queue: the kernel itself never
	// gives up a peer whose host has gone. Congestion control doubles its
	// patience with such a peer, so that it takes two or three times as long.
	// Zero: DefaultDeadAfter. Negative: for ever.
	DeadAfter time.Duration
}

// DefaultDeadAfter outlasts several packets in a row that the network lost.
const DefaultDeadAfter = 10 * time.Second

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	c, err := Dial(ctx, netip.AddrPort{}, d.To, d.Config)
	if err != nil {
		return nil, err
	}
	s := &session{c: c, who: c.peer(d.Scheme), done: make(chan struct{})}
	s.wg.Go(s.read) // ended by the connection
	if after := cmp.Or(d.DeadAfter, DefaultDeadAfter); after > 0 {
		s.wg.Go(func() { s.watch(after) }) // ended by end
	}
	return s, nil
}

// session is the exporter's end of plain DCCP. One goroutine awaits the peer's
// end, another looks whether the queue moves.
type session struct {
	c   *Conn
	who transport.Peer
	wg  sync.WaitGroup

	once sync.Once
	done chan struct{}
	err  error // before done is closed

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

// watch ends the session when nothing has left the queue for so long.
func (s *session) watch(after time.Duration) {
	t := time.NewTicker(min(after/8, time.Second))
	defer t.Stop()
	p := progress{at: time.Now()}
	for {
		select {
		case <-s.done:
			return
		case now := <-t.C:
			if p.look(now, s.sent.Load(), s.c.queued()) >= after {
				s.end(fmt.Errorf("dccp %v: the peer's host has acknowledged nothing for %v", s.who.Remote, after))
				return
			}
		}
	}
}

// progress tells how long nothing has left a queue.
type progress struct {
	at     time.Time // when something was seen to leave it, or it was empty
	sent   uint64
	queued int
}

// leastCharge is less than the kernel counts for any message in its queue.
const leastCharge = 512

// look takes how many messages were put in by now, and the octets in the queue.
func (p *progress) look(now time.Time, sent uint64, queued int) time.Duration {
	if queued == 0 || queued < p.queued+int(sent-p.sent)*leastCharge {
		p.at = now
	}
	p.sent, p.queued = sent, queued
	return now.Sub(p.at)
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
		s.sent.Add(1)
		s.bytes.Add(uint64(len(o.Data)))
		n++
	}
	return n, nil
}

// refused words why the kernel did not take a message.
func (s *session) refused(err error) error {
	switch {
	case errors.Is(err, transport.ErrBusy), errors.Is(err, transport.ErrTooLarge), errors.Is(err, transport.ErrClosed):
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

// Close implements transport.Session. An end out of order before is an error.
func (s *session) Close(ctx context.Context) error {
	err := s.c.Shutdown(ctx)
	s.wg.Wait() // what was closed is not read any more
	s.end(transport.ErrClosed)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	// What came of the closing itself the kernel does not tell.
	if errors.Is(s.err, transport.ErrClosed) || errors.Is(s.err, transport.ErrPeerClosed) {
		return nil
	}
	return s.err
}

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	return transport.SessionStats{
		MessagesSent: s.sent.Load(), BytesSent: s.bytes.Load(), SendErrors: s.fails.Load(), RecordsDropped: s.strays.Load(),
	}
}
