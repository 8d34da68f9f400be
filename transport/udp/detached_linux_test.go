package udp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
)

// TestDetached_busy keeps a reader resting and reading: all arrives, in order,
// with fewer calls than datagrams.
func TestDetached_busy(t *testing.T) {
	in := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	out := connect(t, in.LocalAddr(), Config{})
	const n, ahead = 5000, 200 // of them fit into the smallest receive buffer
	var sending sync.WaitGroup
	var read atomic.Int64
	ctx := soon(t)
	sending.Go(func() {
		one := numbered(100)
		for i := range n {
			for i-int(read.Load()) >= ahead && ctx.Err() == nil {
				runtime.Gosched()
			}
			one[0].Data[0], one[0].Data[1] = byte(i>>8), byte(i)
			if _, err := out.WriteBatch(one); err != nil {
				t.Error(err)
				return
			}
		}
	})
	dst := make([]transport.Datagram, 64)
	calls := 0
	for next := 0; next < n; calls++ {
		m, err := in.ReadBatch(ctx, dst)
		if err != nil {
			t.Fatalf("after %d datagrams: %v (%d dropped)", next, err, in.SocketDrops())
		}
		for _, d := range dst[:m] {
			if got := int(d.Data[0])<<8 | int(d.Data[1]); got != next {
				t.Fatalf("datagram %d after %d", got, next)
			}
			next++
		}
		read.Store(int64(next))
	}
	sending.Wait()
	t.Logf("%d calls for %d datagrams", calls, n)
}

func TestDetached_interrupts(t *testing.T) {
	never := func(uintptr) bool { return false }
	for name, tt := range map[string]struct {
		act  func(*detached) error
		want error
	}{
		"a deadline that is set": {func(d *detached) error { return d.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"a deadline that comes":  {func(d *detached) error { return d.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		"close":                  {(*detached).Close, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			d := listen(t, netip.MustParseAddr("127.0.0.1"), Config{}).sock.detached
			for _, wait := range []func() error{
				func() error { return d.Read(never) },
				func() error {
					for d.Control(func(uintptr) {}) == nil && !d.reads.passed() {
						d.rest(time.Hour)
					}
					return tt.want
				},
			} {
				ended := make(chan error, 1)
				go func() { ended <- wait() }()
				time.Sleep(10 * time.Millisecond) // the wait is under way, most likely
				if err := tt.act(d); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Fatal(err)
				}
				select {
				case err := <-ended:
					if !errors.Is(err, tt.want) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("waits on")
				}
			}
		})
	}
}

func TestDetached_afterClose(t *testing.T) {
	d := listen(t, netip.MustParseAddr("127.0.0.1"), Config{}).sock.detached
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	ok := func(uintptr) bool { return true }
	for name, err := range map[string]error{
		"Read": d.Read(ok), "Write": d.Write(ok), "Control": d.Control(func(uintptr) {}),
		"SetReadDeadline": d.SetReadDeadline(time.Time{}), "SetWriteDeadline": d.SetWriteDeadline(time.Time{}), "Close": d.Close(),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.rest(time.Hour) // returns
}

// TestDetached_descriptors: nothing stays open, and nothing is passed on to
// programs that are started.
func TestDetached_descriptors(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	before := count()
	for range 20 {
		c, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Config{})
		if err != nil {
			t.Fatal(err)
		}
		d := c.sock.detached
		for _, fd := range []int{d.fd, d.reads.fd, d.writes.fd} {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Fatalf("descriptor %d: flags %#x, %v", fd, flags, err)
			}
		}
		_ = c.Close()
	}
	if after := count(); after > before+2 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
