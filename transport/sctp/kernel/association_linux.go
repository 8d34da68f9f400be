//go:build linux && !386

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

var bigEndian = binary.BigEndian

// association is one connected socket.
type association struct {
	file          *os.File
	rc            syscall.RawConn
	local, remote netip.AddrPort
	out, in       int
	partial       bool

	smu          sync.Mutex
	sender       sender
	acknowledged atomic.Uint64

	receiver receiver
	ended    error // as a notification told; the receiving goroutine's until over
	// untold are messages found to have been given up, which Receive is to tell;
	// settled is what to acknowledge behind them, 0: nothing.
	untold  []sctp.Message
	settled uint64

	fmu      sync.Mutex
	fleeting fleeting
	look     func(fd uintptr) // lookIdle, bound once

	dmu sync.Mutex    // one Drain at a time
	dry chan struct{} // fed by Receive

	down    atomic.Bool // this side began the end
	over    chan struct{}
	overErr error // read after over
	once    sync.Once

	stats struct {
		sent, bytesSent, received, bytesReceived atomic.Uint64
		// abandoned counts messages given up unsent, or with the association, given
		// the others, as the kernel told last.
		abandoned, given atomic.Uint64
	}
}

// newAssociation takes over a connected, non-blocking socket. Where the peer is
// known, from being accepted, the association may have ended already: what it
// brought is still to be read.
func newAssociation(file *os.File, peer netip.AddrPort) (*association, error) {
	rc, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	a := &association{file: file, rc: rc, dry: make(chan struct{}, 1), over: make(chan struct{})}
	a.look = a.lookIdle
	a.sender.init()
	a.receiver.init(a)
	err = a.control(func(fd int) error {
		s, err := getStatus(fd)
		switch {
		case errors.Is(err, unix.EINVAL) && peer.IsValid():
			a.remote = peer
			a.out, a.in = streamsTold(fd)
		case err != nil:
			return os.NewSyscallError("getsockopt SCTP_STATUS", err)
		default:
			a.in, a.out, a.remote = s.in, s.out, storage(s.primary)
		}
		a.partial = partialReliability(fd)
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		a.local = addrPort(sa)
		return nil
	})
	return a, err
}

// streamsTold finds the numbers of streams in the notification that an
// association begins with.
func streamsTold(fd int) (out, in int) {
	var b [assocChangeLen]byte
	n, _, flags, _, err := unix.Recvmsg(fd, b[:], nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || flags&messageNotice == 0 {
		return 1, 1
	}
	up, ok := parseNotice(b[:n])
	if !ok || up.kind != noticeAssocChange || up.state != assocUp {
		return 1, 1
	}
	return up.out, up.in
}

func (a *association) control(f func(fd int) error) error {
	var err error
	if cerr := a.rc.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return transport.ErrClosed
	}
	return err
}

// finish notes the end and wakes who waits; the first reason stays.
func (a *association) finish(reason error) error {
	a.once.Do(func() {
		if reason == nil || a.down.Load() && errors.Is(reason, transport.ErrPeerClosed) {
			reason = transport.ErrClosed
		}
		a.overErr = reason
		close(a.over)
		_ = a.file.SetWriteDeadline(past)
	})
	<-a.over
	return a.overErr
}

func (a *association) isOver() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

// endReason is nil while the association lives.
func (a *association) endReason() error {
	if a.isOver() {
		return a.overErr
	}
	return nil
}

// Drain implements sctp.Association. The event comes once each time the
// association runs dry, and an old one may be in the queue; switched off and on
// it is told at once when there is nothing under way.
func (a *association) Drain(ctx context.Context) error {
	a.dmu.Lock()
	defer a.dmu.Unlock()
	select {
	case <-a.dry:
	default:
	}
	err := a.control(func(fd int) error {
		return errors.Join(subscribe(fd, noticeSenderDry, false), subscribe(fd, noticeSenderDry, true))
	})
	if err != nil {
		return a.failed(err)
	}
	for {
		select {
		case <-a.dry:
			left := 0
			err := a.control(func(fd int) error {
				s, err := getStatus(fd)
				left = s.unacknowledged
				return err
			})
			switch {
			case err != nil:
				return a.failed(err)
			case left == 0:
				return nil
			}
		case <-a.over:
			return a.overErr
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Acknowledged implements sctp.Association. The kernel does not tell how far
// the peer has come, but when nothing is under way it has all: Receive notes
// that when it is told so, behind what it was told of failed messages.
func (a *association) Acknowledged() uint64 {
	if a.isOver() && a.ended != nil {
		return a.stats.sent.Load()
	}
	return a.acknowledged.Load()
}

// allThere tells whether nothing is under way.
func allThere(fd uintptr) bool {
	var b [statusLen]byte
	_, err := getOption(int(fd), optStatus, b[:])
	return err == nil && unacknowledged(b[:]) == 0
}

// settle notes what became of all that was sent: nothing is under way, and all
// that the kernel had to tell was taken after that was so. The caller holds
// smu, in the receiving goroutine.
func (a *association) settle(fd uintptr) {
	a.fmu.Lock()
	if len(a.fleeting.list) > 0 {
		if given, err := getAbandoned(int(fd)); err == nil {
			a.stats.given.Store(given)
			a.untold = a.fleeting.settle(time.Now(), given, a.untold)
		}
	}
	a.fmu.Unlock()
	if a.settled = a.stats.sent.Load(); len(a.untold) == 0 {
		a.acknowledge()
	}
}

// acknowledge tells of what was settled.
func (a *association) acknowledge() {
	if a.settled > 0 {
		a.acknowledged.Store(a.settled)
		a.settled = 0
	}
}

// tell hands out the next message that was found to have been given up. What
// was settled counts when the one before has been told: when the next event is
// asked for.
func (a *association) tell(ev *sctp.Event) bool {
	if len(a.untold) == 0 {
		a.acknowledge()
		return false
	}
	*ev = sctp.Event{Kind: sctp.EventSendFailed, Message: a.untold[0]}
	if a.untold = a.untold[1:]; len(a.untold) == 0 {
		a.untold = nil
	}
	return true
}

// failed is the end of the association rather than what a call on its socket
// says of it.
func (a *association) failed(err error) error {
	if reason := a.endReason(); reason != nil {
		return reason
	}
	return err
}

// Heartbeat's looks at the counters, from the quickest network to the slowest.
const (
	lookFirst = time.Millisecond
	lookMost  = 50 * time.Millisecond
)

// Heartbeat implements sctp.Association. No notification tells of an answered
// heartbeat, but the counter of packets does.
func (a *association) Heartbeat(ctx context.Context) error {
	var before counters
	err := a.control(func(fd int) (err error) {
		if before, err = getCounters(fd); err != nil {
			return err
		}
		s, err := getStatus(fd)
		if err != nil {
			return err
		}
		return demandHeartbeat(fd, s.primary)
	})
	if err != nil {
		return a.failed(err)
	}
	every := lookFirst
	tick := time.NewTimer(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-a.over:
			return a.overErr
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var now counters
		if err := a.control(func(fd int) (err error) { now, err = getCounters(fd); return err }); err != nil {
			return a.failed(err)
		}
		if now.packetsIn != before.packetsIn {
			return nil
		}
		every = min(2*every, lookMost)
		tick.Reset(every)
	}
}

// SetKey implements sctp.Association.
func (a *association) SetKey(id uint16, key []byte) error {
	b, err := authKey(id, key)
	if err != nil {
		return err
	}
	defer clear(b)
	return a.option("SCTP_AUTH_KEY", optAuthKey, b)
}

// ActivateKey implements sctp.Association.
func (a *association) ActivateKey(id uint16) error {
	return a.option("SCTP_AUTH_ACTIVE_KEY", optActiveKey, keyID(id))
}

// DeleteKey implements sctp.Association.
func (a *association) DeleteKey(id uint16) error {
	return a.option("SCTP_AUTH_DELETE_KEY", optDeleteKey, keyID(id))
}

func (a *association) option(what string, name int, b []byte) error {
	err := a.control(func(fd int) error { return os.NewSyscallError("setsockopt "+what, setOption(fd, name, b)) })
	if err != nil {
		return a.failed(err)
	}
	return nil
}

// PeerAuthChunks implements sctp.Association.
func (a *association) PeerAuthChunks() (chunks []byte, err error) {
	err = a.control(func(fd int) (err error) { chunks, err = peerAuthChunks(fd); return err })
	switch {
	case errors.Is(err, unix.EACCES): // our SCTP-AUTH is off: it knows of no peer's
		return nil, nil
	case errors.Is(err, unix.EINVAL): // there is no association any more
		return nil, a.failed(&sctp.LostError{Aborted: true})
	}
	return chunks, err
}

// Streams implements sctp.Association.
func (a *association) Streams() (out, in int) { return a.out, a.in }

// PartialReliability implements sctp.Association.
func (a *association) PartialReliability() bool { return a.partial }

// MaxMessage implements sctp.Association.
func (a *association) MaxMessage() int { return maxMessage }

// LocalAddr implements sctp.Association.
func (a *association) LocalAddr() netip.AddrPort { return a.local }

// RemoteAddr implements sctp.Association.
func (a *association) RemoteAddr() netip.AddrPort { return a.remote }

// Stats implements sctp.Association.
func (a *association) Stats() sctp.Stats {
	s := sctp.Stats{
		MessagesSent: a.stats.sent.Load(), BytesSent: a.stats.bytesSent.Load(),
		MessagesReceived: a.stats.received.Load(), BytesReceived: a.stats.bytesReceived.Load(),
		Abandoned: a.stats.abandoned.Load(),
	}
	given := a.stats.given.Load()
	_ = a.control(func(fd int) error { // of an ended association there is no more
		if c, err := getCounters(fd); err == nil {
			s.Retransmitted = c.retransmitted
		}
		if st, err := getStatus(fd); err == nil {
			s.RTT = st.rtt
		}
		if n, err := getAbandoned(fd); err == nil {
			given = n
		}
		return nil
	})
	s.Abandoned += given
	return s
}

// Shutdown implements sctp.Association.
func (a *association) Shutdown() error {
	a.down.Store(true)
	err := a.control(func(fd int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR)) })
	if err != nil {
		return a.failed(err)
	}
	return nil
}

// Abort implements sctp.Association. A one-to-one socket has no way to give the
// peer a reason: SCTP_ABORT is refused on it.
func (a *association) Abort(string) {
	a.down.Store(true)
	_ = a.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	_ = a.file.Close()
}
