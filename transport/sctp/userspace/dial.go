package userspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// dialing is a handshake begun here.
type dialing struct {
	s    *Socket
	cfg  Config
	own  bool
	tag  uint32
	key  peerKey        // as dialed
	peer netip.AddrPort // UDP

	mu    sync.Mutex
	hand  *shim.Initiator
	timer *time.Timer
	from  netip.Addr
	done  chan struct{}
	over  bool
	a     *association // set before done is closed
	err   error
}

// Dial begins an association with an address and SCTP port, from a Socket of
// its own, which ends with it.
func Dial(ctx context.Context, remote netip.AddrPort, cfg Config) (sctp.Association, error) {
	full := cfg.withDefaults()
	if err := full.validate(); err != nil {
		return nil, err
	}
	s, err := connect(ctx, netip.AddrPortFrom(remote.Addr(), full.UDPPort), full)
	if err != nil {
		return nil, err
	}
	a, err := s.dial(ctx, remote, full, true)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return a, nil
}

// Dial begins an association from the socket. What Config says of sockets does
// not matter here.
func (s *Socket) Dial(ctx context.Context, remote netip.AddrPort, cfg Config) (sctp.Association, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	a, err := s.dial(ctx, remote, cfg, false)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (s *Socket) dial(ctx context.Context, remote netip.AddrPort, cfg Config, own bool) (*association, error) {
	d := &dialing{
		s: s, cfg: cfg, own: own,
		peer: netip.AddrPortFrom(remote.Addr().Unmap(), cfg.UDPPort),
		done: make(chan struct{}),
	}
	if err := d.begin(remote.Port()); err != nil {
		return nil, err
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		d.abandon(context.Cause(ctx))
		<-d.done
	}
	if d.err != nil {
		return nil, fmt.Errorf("dial sctp %v over udp port %d: %w", remote, cfg.UDPPort, d.err)
	}
	return d.a, nil
}

func (d *dialing) begin(port uint16) error {
	now := time.Now()
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if d.s.closed {
		return net.ErrClosed
	}
	var ok bool
	if d.key, ok = d.s.freePort(peerKey{d.peer, d.cfg.LocalPort, port}); !ok {
		return errPorts
	}
	d.tag = d.s.newTag()
	d.hand = shim.NewInitiator(now, d.cfg.offer(), d.cfg.timers(), d.key.local, port, d.tag, random())
	d.s.tags[d.tag] = d
	d.s.dials[d.key] = struct{}{}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = time.AfterFunc(time.Until(d.hand.Next()), d.tick)
	d.flush(now)
	return nil
}

// errPorts: an association or handshake with the same peer has that port.
var errPorts = errors.New("local SCTP port in use")

// freePort completes a key by a local port that is not in use towards the
// peer: one association for each pair of addresses and ports. s.mu is held.
func (s *Socket) freePort(k peerKey) (peerKey, bool) {
	used := func() bool {
		_, dialed := s.dials[k]
		return dialed || s.peers[k] != nil
	}
	if k.local != 0 {
		return k, !used()
	}
	for range 100 {
		// A random one of the dynamic ports (RFC 6335, Section 6).
		seed := random()
		k.local = 0xC000 | uint16(seed[0])<<8 | uint16(seed[1])
		if !used() {
			return k, true
		}
	}
	return k, false
}

// existing implements receiver.
func (d *dialing) existing() shim.Existing { return shim.Existing{LocalTag: d.tag} }

// deliver implements receiver.
func (d *dialing) deliver(now time.Time, packet []byte, g *transport.Datagram) {
	h, _ := wire.ParseHeader(packet)
	t, _, _, _ := d.hand.Result()
	if g.Peer.Addr() != d.peer.Addr() || h.Src != t.PeerPort || h.Dst != t.LocalPort {
		d.s.drops.add(shim.DropAddress)
		return
	}
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		return
	}
	// The UDP port is that of the answer (RFC 6951, Section 5.4).
	d.peer, d.from = g.Peer, g.Local
	d.hand.Receive(now, packet)
	d.flush(now)
	_, last, done, err := d.hand.Result()
	if !done {
		d.mu.Unlock()
		return
	}
	if err != nil {
		d.finish(err)
		d.mu.Unlock()
		d.forget()
		return
	}
	d.over = true
	d.timer.Stop()
	d.mu.Unlock()
	d.succeed(now, last, g)
}

// succeed puts the association in the place of the handshake, in the reader:
// the next packet finds it.
func (d *dialing) succeed(now time.Time, last []byte, g *transport.Datagram) {
	t, _, _, _ := d.hand.Result()
	a := newAssociation(now, d.s, &d.cfg, *t, g)
	a.own = d.own
	d.s.mu.Lock()
	if d.s.closed {
		d.s.mu.Unlock()
		d.err = net.ErrClosed
		close(d.done)
		return
	}
	delete(d.s.dials, d.key)
	d.s.enrol(a)
	d.s.mu.Unlock()
	if d.err = a.start(now); d.err == nil {
		a.deliver(now, last, g)
		d.a = a
	}
	close(d.done)
}

func (d *dialing) tick() {
	now := time.Now()
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		return
	}
	d.hand.Advance(now)
	d.flush(now)
	_, _, done, err := d.hand.Result()
	if done {
		d.finish(err)
		d.mu.Unlock()
		d.forget()
		return
	}
	d.timer.Reset(max(d.hand.Next().Sub(now), 0))
	d.mu.Unlock()
}

// flush sends what the handshake has to send; d.mu is held.
func (d *dialing) flush(now time.Time) {
	for {
		b, ok := d.hand.Packet(take(0))
		if !ok {
			give(b)
			break
		}
		d.s.out.put(b, d.peer, d.from, false)
	}
	d.timer.Reset(max(d.hand.Next().Sub(now), 0))
}

// finish ends a handshake that failed; d.mu is held.
func (d *dialing) finish(err error) {
	d.over, d.err = true, err
	d.timer.Stop()
	for i, n := range d.hand.Drops {
		d.s.drops[i].Add(n)
	}
	close(d.done)
}

// forget makes the socket forget the handshake.
func (d *dialing) forget() {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if d.s.tags[d.tag] == receiver(d) {
		delete(d.s.tags, d.tag)
		delete(d.s.dials, d.key)
	}
}

// abandon gives the handshake up.
func (d *dialing) abandon(err error) {
	d.mu.Lock()
	if d.over {
		d.mu.Unlock()
		return
	}
	d.hand.Abandon()
	d.flush(time.Now())
	d.finish(err)
	d.mu.Unlock()
	d.forget()
}
