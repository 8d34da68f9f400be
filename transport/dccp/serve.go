package dccp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
)

// Server serves sessions of plain DCCP: the collector's end. It is a
// transport.Listener. Messages are handed over in the goroutine that reads the
// socket; Serve's goroutine accepts, and one for each connection waits for its
// end.
type Server struct {
	l       *Listener
	scheme  string
	release func() error
	wg      sync.WaitGroup

	once   sync.Once
	served chan struct{} // closed by Serve, or by Close

	mu       sync.Mutex
	handler  transport.Handler // nil: not served
	sessions map[*Conn]*inbound

	messages, bytes         atomic.Uint64
	opened, closed, refused atomic.Uint64
	unwanted                atomic.Uint64
}

// inbound is one session.
type inbound struct {
	mu       sync.Mutex
	receiver transport.Receiver // nil: refused, or over
}

// NewServer serves the connections for the service codes on a DCCP port of an
// endpoint. release, unless nil, is called when it ends.
func NewServer(e *Endpoint, port uint16, services []ServiceCode, scheme string, cfg ListenConfig, release func() error) (*Server, error) {
	s := &Server{scheme: scheme, release: release, sessions: make(map[*Conn]*inbound), served: make(chan struct{})}
	cfg.Receive = s.message
	var err error
	s.l, err = e.Listen(port, services, cfg)
	return s, err
}

// Addr implements transport.Listener: the address and DCCP port.
func (s *Server) Addr() netip.AddrPort { return s.l.Addr().(Addr).AddrPort() }

// Serve implements transport.Listener.
func (s *Server) Serve(ctx context.Context, h transport.Handler) error {
	s.mu.Lock()
	s.handler = h
	s.mu.Unlock()
	s.once.Do(func() { close(s.served) })
	var err error
	for {
		var c *Conn
		if c, err = s.l.accept(ctx); err != nil {
			break
		}
		in := s.session(c)
		s.wg.Go(func() { // ended by the connection
			<-c.Done()
			reason := c.Err()
			if errors.Is(reason, net.ErrClosed) {
				reason = transport.ErrClosed
			}
			s.over(c, in, reason)
		})
	}
	s.part()
	s.wg.Wait()
	for c, in := range s.left() {
		s.over(c, in, transport.ErrClosed)
	}
	closeErr := s.Close()
	if ctx.Err() != nil {
		return closeErr
	}
	return fmt.Errorf("%s listener on %v: %w", s.scheme, s.Addr(), err)
}

// part closes the connections in order, all at a time.
func (s *Server) part() {
	_ = s.l.Close()
	all := s.left()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	for c := range all {
		c.shutdown()
	}
	for c := range all {
		if c.Shutdown(ctx) != nil {
			_ = c.Abort() // the peer does not answer
		}
	}
}

// left are the sessions there are.
func (s *Server) left() map[*Conn]*inbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sessions)
}

// session finds or opens that of a connection: its first message may come
// before it is accepted.
func (s *Server) session(c *Conn) *inbound {
	<-s.served // the socket is bound a little before
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.sessions[c]; in != nil {
		return in
	}
	in := new(inbound)
	s.sessions[c] = in
	if s.handler != nil {
		r, err := s.handler.Open(peerOf(c, s.scheme), plain)
		if err == nil && r != nil {
			in.receiver = r
			s.opened.Add(1)
			return in
		}
	}
	s.refused.Add(1)
	_ = c.Abort()
	return in
}

// message is the connections' Receive.
func (s *Server) message(c *Conn, msg []byte) {
	in := s.session(c)
	s.messages.Add(1)
	s.bytes.Add(uint64(len(msg)))
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.receiver == nil {
		s.unwanted.Add(1)
		return
	}
	in.receiver.Message(transport.Incoming{Data: msg, Received: time.Now()})
}

func (s *Server) over(c *Conn, in *inbound, reason error) {
	s.mu.Lock()
	delete(s.sessions, c)
	s.mu.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.receiver != nil {
		in.receiver.Closed(reason)
		in.receiver = nil
		s.closed.Add(1)
	}
}

// Close implements transport.Listener.
func (s *Server) Close() error {
	err := s.l.Close()
	s.once.Do(func() { close(s.served) })
	s.mu.Lock()
	release := s.release
	s.release = nil
	s.mu.Unlock()
	if release != nil {
		err = errors.Join(err, release())
	}
	return err
}

// Stats implements transport.Listener. Datagrams are messages here.
func (s *Server) Stats() transport.ListenerStats {
	e := s.l.e.Stats()
	k := e.Listeners[s.l.port.n]
	return transport.ListenerStats{
		DatagramsReceived: s.messages.Load(), BytesReceived: s.bytes.Load(), SocketDrops: e.SocketDrops,
		SessionsOpened: s.opened.Load(), SessionsClosed: s.closed.Load(), SessionsRefused: s.refused.Load() + k.TooBusy + k.BadService,
		HandshakesLimited: k.CookiesLimited,
		Dropped: map[string]uint64{
			"malformed": e.Malformed, "checksum": e.Checksum, "stray": k.Strays + e.Stray.Strays, "refused": s.unwanted.Load(),
		},
	}
}
