package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ipfixsuite/transport"
)

// Defaults of ServerConfig.
const (
	// DefaultIdleTimeout exceeds three template refreshes of ten minutes.
	DefaultIdleTimeout          = 31 * time.Minute
	DefaultMaxSessions          = 4096 // each has a descriptor and a buffer
	DefaultMaxSessionsPerPrefix = 1024
)

// At the end what has come is still handed over: as much as a socket's buffer may
// have held, however long that takes, and what comes meanwhile for so long.
const (
	drainMost  = time.Second
	drainLeast = 2 * defaultReceiveBuffer / leastCharge // the kernel doubles what it is asked for
)

// acceptPause is how long no connection is taken when there are no descriptors
// left.
const acceptPause = 100 * time.Millisecond

// ServerConfig sets up a Server. The zero value works.
type ServerConfig struct {
	Config
	Scheme string // of the endpoint
	// IdleTimeout ends a session that brings nothing: the kernel does not
	// notice that a peer's host has gone. Zero: DefaultIdleTimeout. Negative:
	// never.
	IdleTimeout time.Duration
	// MaxSessions bounds the sessions, MaxSessionsPerPrefix those of one /24 of
	// IPv4 or /56 of IPv6. Zero: the defaults.
	MaxSessions, MaxSessionsPerPrefix int
}

// Server serves sessions of plain DCCP: the collector's end. It is a
// transport.Listener. Serve's goroutine accepts; each connection has one that
// reads it.
type Server struct {
	l   *Listener
	cfg ServerConfig
	wg  sync.WaitGroup

	mu       sync.Mutex
	living   map[*Conn]struct{}
	byPrefix map[netip.Prefix]int
	closing  bool

	messages, bytes         atomic.Uint64
	opened, closed, refused atomic.Uint64
	full, prefixFull        atomic.Uint64
	unwanted                atomic.Uint64
}

// NewServer listens at an address.
func NewServer(at netip.AddrPort, cfg ServerConfig) (*Server, error) {
	l, err := Listen(at, cfg.Config)
	if err != nil {
		return nil, err
	}
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, DefaultIdleTimeout)
	cfg.MaxSessions = cmp.Or(cfg.MaxSessions, DefaultMaxSessions)
	cfg.MaxSessionsPerPrefix = cmp.Or(cfg.MaxSessionsPerPrefix, DefaultMaxSessionsPerPrefix)
	return &Server{l: l, cfg: cfg, living: map[*Conn]struct{}{}, byPrefix: map[netip.Prefix]int{}}, nil
}

// Addr implements transport.Listener: the address and DCCP port.
func (s *Server) Addr() netip.AddrPort { return s.l.AddrPort() }

// Close implements transport.Listener.
func (s *Server) Close() error { return s.l.Close() }

// Serve implements transport.Listener.
func (s *Server) Serve(ctx context.Context, h transport.Handler) error {
	var err error
	for {
		var c *Conn
		if c, err = s.l.accept(ctx); err != nil {
			break
		}
		prefix := transport.SourcePrefix(c.RemoteAddrPort().Addr())
		if !s.admit(c, prefix) {
			_ = c.Close() // it is nobody's
			continue
		}
		s.wg.Go(func() { s.serve(c, prefix, h) }) // ended by the connection's end, and by part
	}
	s.part()
	s.wg.Wait()
	closeErr := s.l.Close()
	if ctx.Err() != nil {
		return closeErr
	}
	return fmt.Errorf("%s listener on %v: %w", s.cfg.Scheme, s.Addr(), err)
}

// accept is AcceptConn until ctx ends. A system that is out of descriptors or
// memory is waited for.
func (l *Listener) accept(ctx context.Context) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		c, err := l.AcceptConn()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close() // too late
			}
			return nil, ctx.Err()
		}
		if err == nil || !exhausted(err) {
			return c, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
}

// exhausted tells what passes when others have ended.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Server) admit(c *Conn, prefix netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.living) >= s.cfg.MaxSessions:
		s.full.Add(1)
	case s.byPrefix[prefix] >= s.cfg.MaxSessionsPerPrefix:
		s.prefixFull.Add(1)
	default:
		s.living[c] = struct{}{}
		s.byPrefix[prefix]++
		return true
	}
	s.refused.Add(1)
	return false
}

func (s *Server) release(c *Conn, prefix netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.living, c)
	if s.byPrefix[prefix]--; s.byPrefix[prefix] <= 0 {
		delete(s.byPrefix, prefix)
	}
}

// serve is a connection's life. Who hears of its end finds its place free.
func (s *Server) serve(c *Conn, prefix netip.Prefix, h transport.Handler) {
	defer func() { _ = c.Close() }() // what it has to say it has said
	r, err := h.Open(c.peer(s.cfg.Scheme), plain)
	if err != nil || r == nil {
		s.refused.Add(1)
		s.unwanted.Add(1)
		s.release(c, prefix)
		return
	}
	s.opened.Add(1)
	err = s.receive(c, r)
	s.release(c, prefix)
	r.Closed(err)
	s.closed.Add(1)
}

// receive hands over messages until the connection ends; nil: in order.
func (s *Server) receive(c *Conn, r transport.Receiver) error {
	b := make([]byte, maxMessage)
	var bound time.Time
	for {
		now := time.Now()
		// The deadline is moved once a second at most: it costs.
		if s.cfg.IdleTimeout > 0 && now.Sub(bound) >= time.Second {
			s.mu.Lock()
			if !s.closing { // part sets its own
				_ = c.SetReadDeadline(now.Add(s.cfg.IdleTimeout))
			}
			s.mu.Unlock()
			bound = now
		}
		n, err := c.Read(b)
		switch {
		case err == nil:
			s.message(r, b[:n])
			continue
		case errors.Is(err, io.EOF):
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return ended(err)
		}
		s.mu.Lock()
		closing := s.closing
		s.mu.Unlock()
		if !closing {
			return fmt.Errorf("silent for %v", s.cfg.IdleTimeout)
		}
		// What the kernel has taken for us would be lost with the socket.
		end := now.Add(drainMost)
		for k := 0; k < drainLeast || time.Now().Before(end); k++ {
			n, ok := c.arrived(b)
			if !ok {
				break
			}
			s.message(r, b[:n])
		}
		return transport.ErrClosed
	}
}

func (s *Server) message(r transport.Receiver, msg []byte) {
	s.messages.Add(1)
	s.bytes.Add(uint64(len(msg)))
	r.Message(transport.Incoming{Data: msg, Received: time.Now()})
}

// part closes the connections in order, all at a time.
func (s *Server) part() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.living {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes its reader, who closes it
	}
}

// Stats implements transport.Listener. Datagrams are messages here; what the
// kernel dropped it does not tell.
func (s *Server) Stats() transport.ListenerStats {
	return transport.ListenerStats{
		DatagramsReceived: s.messages.Load(), BytesReceived: s.bytes.Load(),
		SessionsOpened: s.opened.Load(), SessionsClosed: s.closed.Load(), SessionsRefused: s.refused.Load(),
		Dropped: map[string]uint64{"session-limit": s.full.Load(), "prefix-limit": s.prefixFull.Load(), "refused": s.unwanted.Load()},
	}
}
