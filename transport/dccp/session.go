package dccp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"ipfixsuite/transport"
)

// Dialer opens sessions of plain DCCP, each on a connection and a socket of its
// own. It is a transport.Dialer.
type Dialer struct {
	To      Addr
	Service ServiceCode
	Scheme  string // of the endpoint
	Config  Config
}

// Dial implements transport.Dialer.
func (d *Dialer) Dial(ctx context.Context) (transport.Session, error) {
	s := new(session)
	cfg := d.Config
	cfg.Track = true
	cfg.Receive = func(*Conn, []byte) { s.strays.Add(1) } // a collector has nothing to say
	c, err := Dial(ctx, d.To, d.Service, cfg)
	if err != nil {
		return nil, err
	}
	s.c = c
	s.who = peerOf(c, d.Scheme)
	return s, nil
}

func peerOf(c *Conn, scheme string) transport.Peer {
	return transport.Peer{
		Identity: c.remote.IP.String(), Remote: c.remote.AddrPort(), Local: c.local.AddrPort(), Scheme: scheme,
		Session: transport.NewSessionNumber(),
	}
}

// plain are the properties of DCCP: nothing is repeated, but the peer's host
// tells what it has.
var plain = transport.Properties{Streams: 1, Confirms: transport.ConfirmTransport}

// session is the exporter's end of plain DCCP. It has no goroutine.
type session struct {
	c   *Conn
	who transport.Peer

	sent, bytes, strays atomic.Uint64
}

// Send implements transport.Session.
func (s *session) Send(ctx context.Context, batch []transport.Outgoing) (n int, err error) {
	n, err = s.c.sendAll(ctx, batch)
	s.sent.Add(uint64(n))
	for _, o := range batch[:n] {
		s.bytes.Add(uint64(len(o.Data)))
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		err = transport.ErrTooLarge
	case errors.Is(err, net.ErrClosed):
		err = transport.ErrClosed
	case errors.Is(err, io.ErrClosedPipe):
		err = transport.ErrPeerClosed
	}
	return n, err
}

// MaxMessage implements transport.Session.
func (s *session) MaxMessage() int { return s.c.MPS() }

// Properties implements transport.Session.
func (s *session) Properties() transport.Properties { return plain }

// Peer implements transport.Session.
func (s *session) Peer() transport.Peer { return s.who }

// Probe implements transport.Session: plain DCCP has none.
func (s *session) Probe(context.Context) error { return transport.ErrNoProbe }

// Fates implements transport.Tracker.
func (s *session) Fates(dst []transport.Fate) []transport.Fate { return s.c.Fates(dst) }

// Done implements transport.Session.
func (s *session) Done() <-chan struct{} { return s.c.Done() }

// Err implements transport.Session.
func (s *session) Err() error {
	select {
	case <-s.c.Done():
	default:
		return nil
	}
	switch err := s.c.Err(); {
	case errors.Is(err, net.ErrClosed):
		return nil
	case err == nil:
		return transport.ErrPeerClosed
	default:
		return err
	}
}

// Close implements transport.Session. An end out of order is an error: what the
// peer's host has acknowledged its process may not have read.
func (s *session) Close(ctx context.Context) error { return s.c.Shutdown(ctx) }

// Stats implements transport.Session.
func (s *session) Stats() transport.SessionStats {
	k := s.c.Stats()
	return transport.SessionStats{
		MessagesSent: s.sent.Load(), BytesSent: s.bytes.Load(), SendErrors: k.QueueDrops + s.c.e.refused.Load(),
		RecordsDropped: s.strays.Load(), RTT: k.Sender.RTT, UnreachableHints: s.c.e.io.Unreachable(),
	}
}
