//go:build linux && !386

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

const (
	// sendBatch is how many messages one system call hands over.
	sendBatch = 32
	// sendControlWords holds the control messages of one message; 8 octets a
	// word, for the alignment.
	sendControlWords = 10
	// maxMessage is an IPFIX Message's largest size (RFC 7011, Section 3.1).
	maxMessage = 65535
	// maxRecord is that of a DTLS record (RFC 6083, Section 4.1).
	_ = uint(maxMessage - (1<<14 + 2048 + 13))
)

// past is a deadline that is over.
var past = time.Unix(1, 0)

// sender holds the headers of a batch; what is passed to the kernel must not
// move, and must not be made anew for each call.
type sender struct {
	try     func(fd uintptr) bool // sender.send, bound once
	hdrs    [sendBatch]unix.Mmsghdr
	iovs    [sendBatch]unix.Iovec
	control [sendBatch][sendControlWords]uint64
	first   int // message to send next
	count   int
	sent    int // by the last call
	wait    bool
	errno   unix.Errno
}

func (s *sender) init() {
	s.try = s.send
	for i := range s.hdrs {
		h := &s.hdrs[i].Hdr
		h.Iov = &s.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&s.control[i]))
	}
}

// load prepares messages for send.
func (s *sender) load(batch []sctp.Message, partial bool) {
	for i := range batch {
		m := &batch[i]
		if len(m.Data) > 0 {
			s.iovs[i].Base = &m.Data[0]
		}
		s.iovs[i].SetLen(len(m.Data))
		c := unsafe.Slice((*byte)(unsafe.Pointer(&s.control[i])), sendControlWords*8)
		n := putSendInfo(c, m)
		if partial && m.Lifetime > 0 {
			n += putPRInfo(c[n:], m.Lifetime)
		}
		s.hdrs[i].Hdr.SetControllen(n)
	}
	s.first, s.count = 0, len(batch)
}

// unload lets go of the caller's data.
func (s *sender) unload() {
	for i := range s.count {
		s.iovs[i].Base = nil
	}
}

func putControl(b []byte, kind int32, length int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = levelSCTP, kind
	h.SetLen(unix.CmsgLen(length))
	return b[unix.CmsgLen(0):unix.CmsgLen(length)]
}

// putSendInfo writes struct sctp_sndinfo.
func putSendInfo(b []byte, m *sctp.Message) int {
	d := putControl(b, controlSendInfo, sendInfoLen)
	native.PutUint16(d, m.Stream)
	flags := uint16(0)
	if m.Unordered {
		flags |= flagUnordered
	}
	if m.Immediate {
		flags |= flagImmediate
	}
	native.PutUint16(d[2:], flags)
	binary.BigEndian.PutUint32(d[4:], m.PPID)
	native.PutUint32(d[8:], m.Tag)
	native.PutUint32(d[12:], 0)
	return unix.CmsgSpace(sendInfoLen)
}

// putPRInfo writes struct sctp_prinfo: give up after a time (RFC 3758, Section
// 4.1).
func putPRInfo(b []byte, lifetime time.Duration) int {
	d := putControl(b, controlPRInfo, prInfoLen)
	native.PutUint16(d, policyTTL)
	native.PutUint16(d[2:], 0)
	native.PutUint32(d[4:], millis(lifetime))
	return unix.CmsgSpace(prInfoLen)
}

// send is one sendmmsg, for RawConn.Write; it returns false to be called again
// when there may be room.
func (s *sender) send(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.hdrs[s.first])),
			uintptr(s.count-s.first), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			s.sent, s.errno = 0, errno
			return !s.wait
		case 0:
			s.sent, s.errno = int(n), 0
		default:
			s.sent, s.errno = 0, errno
		}
		return true
	}
}

// Send implements sctp.Association.
func (a *association) Send(ctx context.Context, batch []sctp.Message) (n int, err error) {
	a.smu.Lock()
	defer a.smu.Unlock()
	for n < len(batch) {
		fits := 0
		var fault error
		for _, m := range batch[n:min(n+sendBatch, len(batch))] {
			if fault = a.sendable(m); fault != nil {
				break
			}
			fits++
		}
		k, err := a.sendSome(ctx, batch[n:n+fits])
		n += k
		if err != nil {
			return n, err
		}
		if fault != nil {
			return n, fault
		}
	}
	return n, nil
}

// sendable says why a message cannot be sent at all.
func (a *association) sendable(m sctp.Message) error {
	switch {
	case len(m.Data) > maxMessage:
		return transport.ErrTooLarge
	case len(m.Data) == 0:
		return errEmpty // SCTP has no empty messages (RFC 9260, Section 3.3.1)
	case int(m.Stream) >= a.out:
		return sctp.ErrStream
	}
	return nil
}

// sendSome sends up to sendBatch messages; the caller holds smu.
func (a *association) sendSome(ctx context.Context, batch []sctp.Message) (n int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	a.sender.load(batch, a.partial)
	defer a.sender.unload()
	if a.partial {
		a.expire(batch)
		defer func() { a.keep(batch[n:]) }()
	}
	for n < len(batch) {
		a.sender.first, a.sender.wait = n, false
		if err := a.rc.Write(a.sender.try); err != nil {
			return n, a.sendErr(nil)
		}
		if a.sender.errno == unix.EAGAIN {
			if err := a.waitForRoom(ctx); err != nil {
				return n, err
			}
		}
		for i := range a.sender.sent {
			a.stats.bytesSent.Add(uint64(len(batch[n+i].Data)))
		}
		a.stats.sent.Add(uint64(a.sender.sent))
		n += a.sender.sent
		switch errno := a.sender.errno; errno {
		case 0:
		case unix.EMSGSIZE:
			return n, transport.ErrTooLarge
		default:
			return n, a.sendErr(errno)
		}
	}
	return n, nil
}

// expire takes note of messages that may be given up. The kernel may tell of
// them before it has said that it took them.
func (a *association) expire(batch []sctp.Message) {
	if lasting(batch) == len(batch) {
		return
	}
	_ = a.rc.Control(a.look) // of an ended association there is no more
	now := time.Now()
	a.fmu.Lock()
	for i := range batch {
		if m := &batch[i]; m.Lifetime > 0 {
			a.fleeting.add(now, m)
		}
	}
	a.fmu.Unlock()
}

// lookIdle notes whether nothing is under way. It is look.
func (a *association) lookIdle(fd uintptr) {
	a.fmu.Lock()
	defer a.fmu.Unlock()
	if len(a.fleeting.list) == 0 || !allThere(fd) {
		return
	}
	if given, err := getAbandoned(int(fd)); err == nil {
		a.fleeting.idle(time.Now(), given)
	}
}

// lasting counts the reliable messages.
func lasting(batch []sctp.Message) (n int) {
	for i := range batch {
		if batch[i].Lifetime <= 0 {
			n++
		}
	}
	return n
}

// keep takes back what was not taken.
func (a *association) keep(rest []sctp.Message) {
	if n := len(rest) - lasting(rest); n > 0 {
		a.fmu.Lock()
		a.fleeting.remove(n)
		a.fmu.Unlock()
	}
}

// waitForRoom sends as soon as the socket takes something; ctx and the end of
// the association end the wait.
func (a *association) waitForRoom(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.sender.wait = true
	err := interruptible(ctx, a.file.SetWriteDeadline, func() error { return a.rc.Write(a.sender.try) })
	if a.isOver() { // its wake-up stays
		_ = a.file.SetWriteDeadline(past)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return a.sendErr(nil)
}

// interruptible calls f, and lets the end of ctx wake it by a deadline that is
// over. The deadline is gone when it returns.
func interruptible(ctx context.Context, deadline func(time.Time) error, f func() error) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = deadline(past)
		close(woken)
	})
	err := f()
	if !stop() {
		<-woken
		_ = deadline(time.Time{})
	}
	return err
}

// sendErr is the end of the association as a sender sees it.
func (a *association) sendErr(err error) error {
	if reason := a.endReason(); reason != nil {
		return reason
	}
	if a.down.Load() {
		return transport.ErrClosed
	}
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ESHUTDOWN) {
		return transport.ErrPeerClosed // its notification is still to be read
	}
	return os.NewSyscallError("sendmmsg", err)
}
