//go:build linux && !386

package kernel

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

const (
	// receiveStart is the buffer's first size; it grows with the messages that
	// come, so that a silent association holds little.
	receiveStart = 4 << 10
	// receiveMost holds the largest message of ours; a longer one is another
	// protocol's, and ends the association.
	receiveMost = 64 << 10
	// receiveControlWords holds struct sctp_rcvinfo and room for what was not
	// asked for.
	receiveControlWords = 16

	messageNotice = 0x8000 // MSG_NOTIFICATION
)

// receiver belongs to the goroutine that calls Receive.
type receiver struct {
	a       *association
	try     func(fd uintptr) bool // receiver.recv, bound once
	hdr     unix.Msghdr
	iov     unix.Iovec
	control [receiveControlWords]uint64
	buf     []byte
	filled  int  // of a message that is not yet whole
	got     int  // by the last call
	dry     bool // the kernel said that nothing is under way; that is yet to be noted
	ending  bool
	errno   unix.Errno
}

func (r *receiver) init(a *association) {
	r.a, r.try = a, r.recv
	r.buf = make([]byte, receiveStart)
	r.hdr.Iov = &r.iov
	r.hdr.SetIovlen(1)
	r.hdr.Control = (*byte)(unsafe.Pointer(&r.control))
}

// recv is recvmsg, for RawConn.Read; it returns false to be called again when
// there is something.
func (r *receiver) recv(fd uintptr) bool {
	r.once(fd)
	if r.empty() && r.dry && !r.ending && r.a.smu.TryLock() { // else more is being sent
		// More may have been sent since the kernel said so, and something failed
		// since: what it has to tell of that is taken first.
		if there := allThere(fd); there {
			if r.once(fd); r.empty() {
				r.dry = false
				r.a.settle(fd)
			}
		} else {
			r.dry = false // it will say so again
		}
		r.a.smu.Unlock()
	}
	switch {
	case !r.empty() || len(r.a.untold) > 0:
		return true
	case r.ending:
		// There are still notifications of what failed, but nothing comes after
		// them that would wake the poller.
		return true
	case r.errno == 0:
		// The peer has begun an orderly end. Whoever is told that it is over frees
		// the socket, by ABORT if it is not: SHUTDOWN COMPLETE is waited for.
		return !lives(fd)
	}
	return false
}

// empty tells whether there was nothing to read, be it that the peer has begun
// an orderly end.
func (r *receiver) empty() bool { return r.got == 0 && (r.errno == 0 || r.errno == unix.EAGAIN) }

// lives tells whether there is an association.
func lives(fd uintptr) bool {
	var b [statusLen]byte
	_, err := getOption(int(fd), optStatus, b[:])
	return err == nil
}

// once is one recvmsg.
func (r *receiver) once(fd uintptr) {
	room := r.buf[r.filled:]
	r.iov.Base = &room[0]
	r.iov.SetLen(len(room))
	r.hdr.SetControllen(int(unsafe.Sizeof(r.control)))
	r.hdr.Flags = 0
	for {
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), unix.MSG_DONTWAIT)
		if errno == unix.EINTR {
			continue
		}
		r.got, r.errno = int(n), errno
		if errno != 0 {
			r.got = 0
		}
		return
	}
}

// info finds struct sctp_rcvinfo.
func (r *receiver) info() (b []byte, ok bool) {
	c := unsafe.Slice((*byte)(unsafe.Pointer(&r.control)), int(r.hdr.Controllen))
	for len(c) >= unix.CmsgLen(0) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		n := int(h.Len)
		if n < unix.CmsgLen(0) || n > len(c) {
			return nil, false
		}
		if h.Level == levelSCTP && h.Type == controlReceiveInfo && n >= unix.CmsgLen(receiveInfoLen) {
			return c[unix.CmsgLen(0):n], true
		}
		c = c[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(c)):]
	}
	return nil, false
}

var (
	errLongMessage = fmt.Errorf("%w: more than 65535 octets", transport.ErrTooLarge)
	errNoInfo      = errors.New("message without its stream")
	errEmpty       = errors.New("empty message")
)

// Receive implements sctp.Association.
func (a *association) Receive(ev *sctp.Event) error {
	r := &a.receiver
	for {
		if a.tell(ev) {
			return nil
		}
		if err := a.rc.Read(r.try); err != nil {
			return a.finish(transport.ErrClosed)
		}
		if len(a.untold) > 0 {
			continue
		}
		if r.errno != 0 || r.got == 0 {
			if r.errno == unix.EAGAIN || a.ended != nil {
				return a.finish(a.ended)
			}
			return a.finish(endOf(r.errno))
		}
		if r.hdr.Flags&messageNotice != 0 {
			if a.noticed(ev) {
				return nil
			}
			continue
		}
		whole, err := a.message(ev)
		if err != nil {
			a.Abort(err.Error())
			return a.finish(err)
		}
		if whole {
			return nil
		}
	}
}

// message takes what recvmsg brought of one.
func (a *association) message(ev *sctp.Event) (whole bool, err error) {
	r := &a.receiver
	r.filled += r.got
	if r.hdr.Flags&unix.MSG_EOR == 0 {
		if r.filled == len(r.buf) {
			if len(r.buf) >= receiveMost {
				return false, errLongMessage
			}
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
		return false, nil
	}
	if r.filled > maxMessage {
		return false, errLongMessage
	}
	info, ok := r.info()
	if !ok {
		return false, errNoInfo
	}
	*ev = sctp.Event{Kind: sctp.EventMessage, Message: receivedMessage(info, r.buf[:r.filled])}
	a.stats.received.Add(1)
	a.stats.bytesReceived.Add(uint64(r.filled))
	r.filled = 0
	return true, nil
}

// noticed takes a notification, which comes behind what is there of a message
// that is not yet whole; it reports whether ev tells of it.
func (a *association) noticed(ev *sctp.Event) bool {
	r := &a.receiver
	n, ok := parseNotice(r.buf[r.filled : r.filled+r.got])
	if !ok {
		return false
	}
	switch n.kind {
	case noticeSenderDry:
		r.dry = true
		select {
		case a.dry <- struct{}{}:
		default:
		}
	case noticePartialDelivery:
		r.filled = 0 // the rest of that message will not come
	case noticeSendFailed, noticeSendFailedEvent:
		if n.begins && (!n.sent || a.ended != nil) { // the kernel counts the others, while there is an association
			a.stats.abandoned.Add(1)
		}
		a.nameFailed(n)
		*ev = sctp.Event{Kind: sctp.EventSendFailed, Cause: n.cause, Message: sctp.Message{
			Stream: n.stream, PPID: n.ppid, Unordered: n.unordered, Tag: n.tag,
		}}
		return true
	case noticePathChange:
		return pathEvent(ev, n)
	case noticeShutdown:
		*ev = sctp.Event{Kind: sctp.EventPeerShutdown}
		return true
	case noticeAssocChange:
		return a.changed(ev, n)
	}
	return false
}

// nameFailed takes note of a message that the kernel gave up.
func (a *association) nameFailed(n notice) {
	a.fmu.Lock()
	defer a.fmu.Unlock()
	a.fleeting.name(n.tag, n.begins && !n.sent)
	if !n.begins || len(a.fleeting.list) == 0 {
		return
	}
	// What was sent before it has been given up, too: now, before more is sent
	// that will be as old, there may be no doubt which that is.
	_ = a.control(func(fd int) error { // of an ended association there is no more
		given, err := getAbandoned(fd)
		if err == nil {
			a.untold = a.fleeting.resolve(time.Now(), given, a.untold)
		}
		return err
	})
}

func pathEvent(ev *sctp.Event, n notice) bool {
	*ev = sctp.Event{Path: n.path, Cause: n.cause}
	switch n.state {
	case pathAvailable:
		ev.Kind = sctp.EventPathUp
	case pathUnreachable:
		ev.Kind = sctp.EventPathDown
	default:
		return false
	}
	return true
}

// changed takes a change of the association's state. After its end the queue
// may still hold notifications of messages that failed.
func (a *association) changed(ev *sctp.Event, n notice) bool {
	switch n.state {
	case assocRestart:
		*ev = sctp.Event{Kind: sctp.EventRestart}
		return true
	case assocLost, assocCannotStart:
		a.ended = &sctp.LostError{Aborted: n.aborted, Cause: uint16(n.cause), Reason: n.reason}
	case assocShutdown:
		a.ended = transport.ErrPeerClosed
	default:
		return false
	}
	a.receiver.ending = true
	return false
}

// receivedMessage reads struct sctp_rcvinfo.
func receivedMessage(info, data []byte) sctp.Message {
	return sctp.Message{
		Stream: native.Uint16(info), Unordered: native.Uint16(info[4:])&flagUnordered != 0,
		PPID: bigEndian.Uint32(info[8:]), Data: data,
	}
}

// endOf is what an error of the socket says when no notification told.
func endOf(errno unix.Errno) error {
	switch errno {
	case unix.ECONNRESET, unix.ECONNABORTED:
		return &sctp.LostError{Aborted: true}
	case 0, unix.ENOTCONN, unix.EPIPE:
		return transport.ErrPeerClosed
	}
	return &sctp.LostError{}
}
