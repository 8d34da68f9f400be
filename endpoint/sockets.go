package endpoint

import (
	"net/netip"
	"sync"

	"ipfixsuite/transport/dccp"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/userspace"
)

// Sockets are the UDP sockets under SCTP (RFC 6951) and DCCP (RFC 6773) that
// the listeners of a process share: all ports of a host are behind one UDP
// port. The zero value is ready; it may be used by several goroutines.
type Sockets struct {
	mu    sync.Mutex
	open  map[netip.AddrPort]*sharedSocket
	dccps map[dccp.Addr]*sharedDCCP
}

// sharedDCCP is a socket under DCCP: UDP (RFC 6773), or that of IP protocol 33.
type sharedDCCP struct {
	*dccp.Endpoint
	users int
}

// dccp opens or shares a socket; release gives it up.
func (s *Sockets) dccp(at dccp.Addr, cfg dccp.Config) (e *dccp.Endpoint, release func() error, err error) {
	if s == nil {
		if e, err = dccp.NewEndpoint(at, cfg); err != nil {
			return nil, nil, err
		}
		return e, e.Close, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.dccps[at]
	if k == nil {
		if e, err = dccp.NewEndpoint(at, cfg); err != nil {
			return nil, nil, err
		}
		if s.dccps == nil {
			s.dccps = map[dccp.Addr]*sharedDCCP{}
		}
		k = &sharedDCCP{Endpoint: e}
		s.dccps[at] = k
	}
	k.users++
	return k.Endpoint, sync.OnceValue(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if k.users--; k.users > 0 {
			return nil
		}
		delete(s.dccps, at)
		return k.Close()
	}), nil
}

type sharedSocket struct {
	*userspace.Socket
	users int
}

// listen takes an SCTP port behind a UDP address. Without Sockets, or with a
// UDP port of the system's choice, the socket is not shared.
func (s *Sockets) listen(at netip.AddrPort, port uint16, cfg userspace.Config) (sctp.Acceptor, error) {
	if s == nil || at.Port() == 0 {
		cfg.Local = at
		return userspace.Listen(netip.AddrPortFrom(at.Addr(), port), cfg)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[at]
	if k == nil {
		socket, err := userspace.Open(at, cfg)
		if err != nil {
			return nil, err
		}
		if s.open == nil {
			s.open = map[netip.AddrPort]*sharedSocket{}
		}
		k = &sharedSocket{Socket: socket}
		s.open[at] = k
	}
	a, err := k.Listen(port, cfg)
	if err != nil {
		if k.users == 0 {
			delete(s.open, at)
			_ = k.Close()
		}
		return nil, err
	}
	k.users++
	return &sharedAcceptor{Acceptor: a, release: sync.OnceValue(func() error { return s.release(at, k) })}, nil
}

// release closes a socket behind its last user.
func (s *Sockets) release(at netip.AddrPort, k *sharedSocket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.users--; k.users > 0 {
		return nil
	}
	delete(s.open, at)
	return k.Close()
}

// sharedAcceptor is one of several on a socket.
type sharedAcceptor struct {
	sctp.Acceptor
	release func() error
}

// Close implements sctp.Acceptor.
func (a *sharedAcceptor) Close() error {
	err := a.Acceptor.Close()
	if rerr := a.release(); err == nil {
		err = rerr
	}
	return err
}
