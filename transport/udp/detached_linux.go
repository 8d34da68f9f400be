package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// detached is a listening socket that the runtime's poller does not know: it
// would be woken by every datagram, even while nobody waits for one, and costs
// a collector as much as its work does. A reader of detached waits in a system
// call of its own, and may rest between reads. It implements descriptor and
// syscall.RawConn.
type detached struct {
	// using is held by whoever uses the descriptors, for writing by Close.
	using         sync.RWMutex
	closed        atomic.Bool
	fd            int
	reads, writes alarm
}

// detach takes uc over and leaves it closed.
func detach(uc *net.UDPConn) (*detached, error) {
	rc, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &detached{fd: -1}
	d.reads.fd, d.writes.fd = -1, -1
	ctlErr := rc.Control(func(fd uintptr) { d.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	for _, e := range []error{ctlErr, err, d.reads.open(), d.writes.open()} {
		if e != nil {
			_ = d.Close()
			return nil, e
		}
	}
	if err := uc.Close(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// SyscallConn implements syscall.Conn.
func (d *detached) SyscallConn() (syscall.RawConn, error) { return d, nil }

// Control implements syscall.RawConn.
func (d *detached) Control(f func(fd uintptr)) error {
	d.using.RLock()
	defer d.using.RUnlock()
	if d.closed.Load() {
		return net.ErrClosed
	}
	f(uintptr(d.fd))
	return nil
}

// Read implements syscall.RawConn for one reader.
func (d *detached) Read(f func(fd uintptr) bool) error { return d.until(f, &d.reads, unix.POLLIN) }

// Write implements syscall.RawConn for one writer.
func (d *detached) Write(f func(fd uintptr) bool) error { return d.until(f, &d.writes, unix.POLLOUT) }

func (d *detached) until(f func(fd uintptr) bool, a *alarm, event int16) error {
	d.using.RLock()
	defer d.using.RUnlock()
	for {
		switch {
		case d.closed.Load():
			return net.ErrClosed
		case a.passed():
			return os.ErrDeadlineExceeded
		case f(uintptr(d.fd)):
			return nil
		}
		a.wait(d.fd, event, -1)
	}
}

// rest lets datagrams gather; Close and a deadline set meanwhile end it.
func (d *detached) rest(t time.Duration) {
	d.using.RLock()
	defer d.using.RUnlock()
	if !d.closed.Load() && !d.reads.passed() {
		d.reads.wait(-1, 0, t)
	}
}

// SetReadDeadline interrupts Read then.
func (d *detached) SetReadDeadline(t time.Time) error { return d.set(&d.reads, t) }

// SetWriteDeadline interrupts Write then.
func (d *detached) SetWriteDeadline(t time.Time) error { return d.set(&d.writes, t) }

func (d *detached) set(a *alarm, t time.Time) error {
	d.using.RLock()
	defer d.using.RUnlock()
	if d.closed.Load() {
		return net.ErrClosed
	}
	a.set(t)
	return nil
}

// Close ends waits and frees the descriptors.
func (d *detached) Close() error {
	if d.closed.Swap(true) {
		return net.ErrClosed
	}
	d.reads.ring()
	d.writes.ring()
	d.using.Lock()
	defer d.using.Unlock()
	var err error
	for _, fd := range []int{d.fd, d.reads.fd, d.writes.fd} {
		if fd >= 0 {
			if e := unix.Close(fd); err == nil {
				err = e
			}
		}
	}
	return err
}

// An alarm interrupts one goroutine's waits: at a deadline, or by ring.
type alarm struct {
	fd       int          // an eventfd
	deadline atomic.Int64 // Unix nanoseconds; 0: none
	fds      [2]unix.PollFd
	buf      [8]byte
}

func (a *alarm) open() (err error) {
	a.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return err
}

func (a *alarm) set(t time.Time) {
	ns := int64(0)
	if !t.IsZero() {
		ns = max(t.UnixNano(), 1)
	}
	a.deadline.Store(ns)
	a.ring()
}

// ring ends the wait under way, or else the next.
func (a *alarm) ring() {
	if a.fd < 0 {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(a.fd, one[:]) // full: it rings already
}

func (a *alarm) passed() bool {
	ns := a.deadline.Load()
	return ns != 0 && time.Now().UnixNano() >= ns
}

// wait returns when fd is ready, the alarm rang, the deadline or, if not
// negative, so much time passed; and at times without a reason. The kernel
// ignores a negative fd.
func (a *alarm) wait(fd int, event int16, most time.Duration) {
	if ns := a.deadline.Load(); ns != 0 {
		if left := max(time.Duration(ns-time.Now().UnixNano()), 0); most < 0 || left < most {
			most = left
		}
	}
	timeout := -1
	if most >= 0 {
		// Not too short, or the end would be waited for with no pause at all.
		timeout = int(min((most+time.Millisecond-1)/time.Millisecond, time.Hour/time.Millisecond))
	}
	a.fds[0] = unix.PollFd{Fd: int32(a.fd), Events: unix.POLLIN}
	a.fds[1] = unix.PollFd{Fd: int32(fd), Events: event}
	if n, err := unix.Poll(a.fds[:], timeout); err == nil && n > 0 && a.fds[0].Revents != 0 {
		_, _ = unix.Read(a.fd, a.buf[:])
	}
}
