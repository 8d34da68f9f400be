package userspace

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
)

// maxBacklog bounds the associations that wait for Accept.
const maxBacklog = 128

// acceptor takes associations on one SCTP port of a Socket. It implements
// sctp.Acceptor.
type acceptor struct {
	s         *Socket
	cfg       Config
	port      uint16
	own       bool            // the socket ends with it
	responder *shim.Responder // of the socket's reader

	backlog  chan *association
	done     chan struct{}
	once     sync.Once
	err      error // set before done is closed
	accepted atomic.Uint64
}

// Listen takes associations at an address with an SCTP port on a Socket of its
// own, at Config.Local.
func Listen(addr netip.AddrPort, cfg Config) (sctp.Acceptor, error) {
	at := cfg.Local
	if !at.IsValid() {
		at = netip.AddrPortFrom(addr.Addr(), DefaultUDPPort)
	}
	s, err := Open(at, cfg)
	if err != nil {
		return nil, err
	}
	l, err := s.listen(addr.Port(), cfg)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	l.own = true
	return l, nil
}

// Listen takes associations on an SCTP port. What Config says of sockets does
// not matter here.
func (s *Socket) Listen(port uint16, cfg Config) (sctp.Acceptor, error) { return s.listen(port, cfg) }

func (s *Socket) listen(port uint16, cfg Config) (*acceptor, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	l := &acceptor{
		s: s, cfg: cfg, port: port,
		responder: shim.NewResponder(time.Now(), cfg.offer(), port, random()),
		backlog:   make(chan *association, maxBacklog),
		done:      make(chan struct{}),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, net.ErrClosed
	case port == 0 || s.ports[port] != nil:
		return nil, fmt.Errorf("listen on sctp port %d over udp %v: port in use", port, s.UDPAddr())
	}
	s.ports[port] = l
	return l, nil
}

// open opens an association, in the socket's reader; false when there is no
// room. near is the peer's former association, whose place it takes.
func (l *acceptor) open(now time.Time, t shim.Terms, d *transport.Datagram, near *association) bool {
	s := l.s
	if near != nil {
		if near.shuttingDown() {
			// RFC 9260, Section 5.2.4, action A: not while the old one is
			// being ended.
			s.drops.add(shim.DropCookie)
			return false
		}
		near.restarted(now)
		s.dismiss(near)
	}
	a := newAssociation(now, s, &l.cfg, t, d)
	s.mu.Lock()
	if len(l.backlog) == cap(l.backlog) || !s.room(d.Peer.Addr()) {
		s.mu.Unlock()
		s.limited.Add(1)
		s.drops.add(shim.DropLimited)
		return false
	}
	s.enrol(a)
	s.mu.Unlock()
	if err := a.start(now); err != nil {
		s.refused.Add(1)
		a.Abort("")
		return true
	}
	a.answerEcho(now)
	a.deliver(now, d.Data, d) // there may be more in the packet
	l.backlog <- a            // has room: nobody else sends
	return true
}

// shuttingDown tells whether the association's orderly end is under way.
func (a *association) shuttingDown() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.core.ShuttingDown()
}

// Accept implements sctp.Acceptor.
func (l *acceptor) Accept(ctx context.Context) (sctp.Association, error) {
	select {
	case a := <-l.backlog:
		l.accepted.Add(1)
		return a, nil
	case <-l.done:
		return nil, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// shut makes Accept fail.
func (l *acceptor) shut(err error) {
	l.once.Do(func() {
		l.err = err
		close(l.done)
	})
}

// Addr implements sctp.Acceptor.
func (l *acceptor) Addr() netip.AddrPort {
	return netip.AddrPortFrom(l.s.UDPAddr().Addr(), l.port)
}

// Stats implements sctp.Acceptor. But for Accepted, they are the socket's.
func (l *acceptor) Stats() sctp.AcceptorStats {
	st := l.s.stats()
	st.Accepted = l.accepted.Load()
	return st
}

// Close implements sctp.Acceptor. On a socket of its own everything ends; on a
// shared one, associations that were accepted live on.
func (l *acceptor) Close() error {
	l.shut(net.ErrClosed)
	l.s.mu.Lock()
	if l.s.ports[l.port] == l {
		delete(l.s.ports, l.port)
	}
	l.s.mu.Unlock()
	for {
		select {
		case a := <-l.backlog:
			a.Abort("")
			continue
		default:
		}
		break
	}
	if l.own {
		return l.s.Close()
	}
	return nil
}

// UDPAddr is the UDP address under an Acceptor of this package.
func UDPAddr(l sctp.Acceptor) netip.AddrPort {
	if l, ok := l.(*acceptor); ok {
		return l.s.UDPAddr()
	}
	return netip.AddrPort{}
}
