package userspace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	pion "github.com/pion/sctp"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// association is one association: the shim's half, pion's, and what is between
// them and the socket. It implements sctp.Association.
type association struct {
	s     *Socket
	cfg   *Config
	terms shim.Terms // does not change
	local netip.AddrPort
	// own: the socket is of this association alone and ends with it.
	own    bool
	engine *pion.Association
	in     inbox

	// key is where the socket finds the association by address; the reader
	// changes it under Socket.mu.
	key peerKey

	mu      sync.Mutex // over what follows, up to the next one
	core    *shim.Association
	remote  netip.AddrPort // UDP
	from    netip.Addr     // our own address, where the socket has several
	timer   *time.Timer
	timerAt time.Time // zero: not running
	closing bool      // Shutdown was called
	over    bool      // the end was dealt with
	changed notice    // something was acknowledged, or the association ended

	sending chan struct{} // one Send at a time
	streams streams
	rx      rx
	use     usage

	messagesSent, bytesSent atomic.Uint64
	queueDrops              atomic.Uint64
}

// newAssociation builds an association whose handshake is over. It is begun by
// start.
func newAssociation(now time.Time, s *Socket, cfg *Config, t shim.Terms, d *transport.Datagram) *association {
	a := &association{
		s: s, cfg: cfg, terms: t,
		key:     peerKey{d.Peer, t.LocalPort, t.PeerPort},
		remote:  d.Peer,
		from:    d.Local,
		local:   netip.AddrPortFrom(s.UDPAddr().Addr(), t.LocalPort),
		sending: make(chan struct{}, 1),
	}
	if d.Local.IsValid() {
		a.local = netip.AddrPortFrom(d.Local, t.LocalPort)
	}
	a.core = shim.NewAssociation(now, t, shim.Config{
		Timers:    cfg.timers(),
		MaxPacket: s.conn.MaxDatagram(d.Peer),
		Seed:      random(),
	})
	a.use.total = &s.use
	a.in.init(inboxLimit(cfg.ReceiveBuffer), &a.use)
	a.rx.init(cfg.ReceiveBuffer/4, &a.use, func() { a.oversized("message longer than 65535 octets") })
	a.streams.init()
	return a
}

// start starts pion and the timer.
func (a *association) start(now time.Time) error {
	local, peer := a.terms.EngineInits()
	engine, err := pion.ClientWithOptions(
		pion.WithNetConn(engineConn{a}),
		pion.WithSNAP(local, peer),
		pion.WithMTU(uint32(a.core.EngineMTU())),
		pion.WithMaxReceiveBufferSize(a.terms.LocalWindow),
		pion.WithMaxMessageSize(maxMessage),
		pion.WithMaxReassemblyQueueEntries(shim.MaxEntries(a.terms.LocalWindow)),
		pion.WithRTOMax(float64(a.cfg.RTOMax.Milliseconds())),
		pion.WithEnableInterleaving(false),
		pion.WithEnableZeroChecksum(true),
		pion.WithLoggerFactory(silent{}),
	)
	if err != nil {
		return fmt.Errorf("start SCTP engine: %w", err)
	}
	a.streams.start(engine)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.engine = engine
	a.timer = time.AfterFunc(time.Hour, a.tick)
	a.arm(now)
	return nil
}

// existing implements receiver.
func (a *association) existing() shim.Existing {
	return shim.Existing{LocalTag: a.terms.LocalTag, PeerTag: a.terms.PeerTag}
}

// deliver implements receiver.
func (a *association) deliver(_ time.Time, packet []byte, d *transport.Datagram) {
	h, _ := wire.ParseHeader(packet)
	if h.Src != a.terms.PeerPort || h.Dst != a.terms.LocalPort || d.Peer.Addr() != a.key.udp.Addr() {
		a.s.drops.add(shim.DropAddress)
		return
	}
	if d.Peer != a.key.udp {
		a.s.moved(a, d.Peer)
		a.mu.Lock()
		a.remote = d.Peer
		a.mu.Unlock()
	}
	if a.s.greedy(&a.use) {
		a.queueDrops.Add(1)
		return
	}
	p := append(take(len(packet)), packet...)
	if !a.in.put(p) {
		give(p)
		a.queueDrops.Add(1)
	}
}

// answerEcho sends a COOKIE ACK.
func (a *association) answerEcho(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.core.AnswerEcho()
	a.flush(now)
}

// tick lets the shim's time pass.
func (a *association) tick() {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timerAt = time.Time{}
	a.core.Advance(now)
	a.flush(now)
}

// flush does what the shim asks for; a.mu is held.
func (a *association) flush(now time.Time) {
	for {
		b, ok := a.core.Packet(take(0))
		if !ok {
			give(b)
			break
		}
		if !a.s.out.put(b, a.remote, a.from, false) {
			a.queueDrops.Add(1)
		}
	}
	for {
		ev, ok := a.core.Event()
		if !ok {
			break
		}
		a.rx.event(&ev, a.remote)
	}
	if a.ended() {
		a.finish()
		return
	}
	a.arm(now)
}

// arm sets the timer for the shim's next deadline. One that is set for earlier
// is left alone: it costs less to let it go off for nothing.
func (a *association) arm(now time.Time) {
	next := a.core.Next()
	if a.timer == nil || next.IsZero() || !a.timerAt.IsZero() && !next.Before(a.timerAt) {
		return
	}
	a.timerAt = next
	a.timer.Reset(max(next.Sub(now), 0))
}

// finish deals with the end of the association, once; a.mu is held.
func (a *association) finish() {
	if a.over {
		return
	}
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.in.close()
	end := a.core.End()
	if end.Reason == shim.EndRestart {
		a.rx.put(&item{kind: sctp.EventRestart})
	}
	a.rx.end(a.endError(end))
	a.changed.tell()
	a.s.gone.add(a)
	// Whoever ends the association is in the way of what is left to do.
	engine := a.engine
	if !a.own {
		a.s.work.Go(func() { a.leave(engine) })
		return
	}
	go func() { // ends by itself: pion's reader has nothing to wait for any more
		a.leave(engine)
		if end.Reason == shim.EndShutdown {
			time.AfterFunc(linger, func() { _ = a.s.Close() })
			return
		}
		_ = a.s.Close()
	}()
}

// linger is how long a socket of one association stays after an orderly end,
// to answer a SHUTDOWN ACK that is sent again because the answer was lost.
const linger = 3 * time.Second

// leave ends pion and makes the socket forget the association.
func (a *association) leave(engine *pion.Association) {
	a.s.dismiss(a)
	if engine != nil {
		_ = engine.Close() // engineConn's error: none
	}
	a.mu.Lock()
	a.use.holds(0)
	a.mu.Unlock()
	a.rx.uncharge()
}

// errViolation: this side aborted the association for the peer's fault.
var errViolation = errors.New("association aborted: the peer broke the protocol")

// errEngine: this side aborted the association for its own fault.
var errEngine = errors.New("association aborted: internal error")

// endError is the end in the words of the contract; a.mu is held.
func (a *association) endError(e shim.End) error {
	switch e.Reason {
	case shim.EndShutdown:
		if e.ByPeer && !a.closing {
			return transport.ErrPeerClosed
		}
		return transport.ErrClosed
	case shim.EndAborted:
		return &sctp.LostError{Aborted: true, Cause: uint16(e.Cause), Reason: e.Text}
	case shim.EndLost:
		return &sctp.LostError{}
	case shim.EndViolation:
		return fmt.Errorf("%w: %s (cause %d)", errViolation, e.Text, e.Cause)
	case shim.EndRestart:
		return &sctp.LostError{Aborted: true, Reason: "began anew"}
	case shim.EndLocal:
		return transport.ErrClosed
	}
	return errEngine
}

// ended tells whether the association is over; a.mu is held.
func (a *association) ended() bool { return a.core.End().Reason != shim.EndNone }

// restarted ends the association because its peer began anew.
func (a *association) restarted(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.core.Restarted()
	a.flush(now)
}

// Shutdown implements sctp.Association.
func (a *association) Shutdown() error {
	a.mu.Lock()
	closing, over := a.closing, a.ended()
	a.closing = true
	a.changed.tell()
	a.mu.Unlock()
	if closing || over {
		return nil
	}
	// What is being handed to pion is waited for; pion then delivers it.
	a.sending <- struct{}{}
	<-a.sending
	a.streams.all(a.terms.In)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	// With a context that has ended pion begins and does not wait. That the
	// peer has begun already is no error here.
	_ = a.engine.Shutdown(ended)
	return nil
}

// Abort implements sctp.Association.
func (a *association) Abort(reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.core.Abort(reason)
	a.flush(time.Now())
}

// oversized ends the association for a message that cannot be taken.
func (a *association) oversized(what string) {
	a.s.drops.add(shim.DropOversized)
	a.Abort(what)
}

// notice wakes whoever waits for a change; its owner's lock is held for all
// methods.
type notice struct{ ch chan struct{} }

// next is closed at the next change.
func (n *notice) next() <-chan struct{} {
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notice) tell() {
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}
