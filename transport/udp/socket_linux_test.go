package udp

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
)

// TestGRO_splits makes sure that runs really were joined and cut again.
func TestGRO_splits(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		in := listen(t, addr, Config{})
		out := connect(t, in.LocalAddr(), Config{})
		if !out.sock.gso {
			t.Skip("this kernel has no UDP_SEGMENT")
		}
		want := numbered(append(slices.Repeat([]int{1200}, 40), 700, 1200, 1200)...)
		if _, err := out.WriteBatch(want); err != nil {
			t.Fatal(err)
		}
		if out.sock.segments[0] != 41 || out.sock.n != 2 {
			t.Errorf("sent as %d messages, the first of %d datagrams", out.sock.n, out.sock.segments[0])
		}
		dst := make([]transport.Datagram, 64)
		n, err := in.ReadBatch(soon(t), dst)
		if err != nil {
			t.Fatal(err)
		}
		if in.sock.fetched >= n && n > 2 {
			t.Errorf("%d messages for %d datagrams: nothing was joined", in.sock.fetched, n)
		}
		got := dst[:n]
		equalData(t, got, want[:n])
		for i := range got {
			if cap(got[i].Data) != len(got[i].Data) {
				t.Fatal("a datagram reaches into the next one")
			}
		}
		equalData(t, append(slices.Clone(got), readN(t, in, len(want)-n)...)[n:], want[n:])
	})
}

// Each fallback gives the same datagrams.
func TestFallbacks(t *testing.T) {
	for name, change := range map[string]func(in, out *socket){
		"no GSO":                func(_, out *socket) { out.gso = false },
		"no mmsg":               func(in, out *socket) { in.single, out.single = true, true },
		"no GSO from 1000 on":   func(_, out *socket) { out.gsoBelow = 1000 },
		"no GRO":                func(in, _ *socket) { in.option(unix.SOL_UDP, unix.UDP_GRO, 0) },
		"device cannot segment": func(_, out *socket) { out.option(unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			in := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
			out := connect(t, in.LocalAddr(), Config{})
			change(&in.sock, &out.sock)
			want := numbered(append(slices.Repeat([]int{1000}, 70), 999, 500, 500, 0, 3)...)
			if n, err := out.WriteBatch(want); n != len(want) || err != nil {
				t.Fatalf("WriteBatch = %d, %v", n, err)
			}
			equalData(t, readN(t, in, len(want)), want)
		})
	}
}

func (s *socket) option(level, name, value int) {
	_ = s.rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), level, name, value) })
}

func TestRefusedRun(t *testing.T) {
	w := &sender{gso: true}
	w.init()
	if !w.refusedRun(unix.EINVAL, 1400) || w.gsoBelow != 1400 || !w.gso {
		t.Errorf("EINVAL: below %d, %v", w.gsoBelow, w.gso)
	}
	if w.refusedRun(unix.ECONNREFUSED, 1400) || !w.gso {
		t.Error("a hint was taken for a refusal")
	}
	if !w.refusedRun(unix.EIO, 1400) || w.gso {
		t.Error("EIO does not end cutting")
	}
}

func TestSocketDrops(t *testing.T) {
	in := listen(t, netip.MustParseAddr("127.0.0.1"), Config{ReceiveBuffer: 4096})
	out := connect(t, in.LocalAddr(), Config{})
	out.sock.gso = false
	batch := numbered(slices.Repeat([]int{1000}, 200)...)
	if _, err := out.WriteBatch(batch); err != nil {
		t.Fatal(err)
	}
	drops := in.SocketDrops()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	dst, got := make([]transport.Datagram, 64), 0
	for got+int(drops) < len(batch) {
		n, err := in.ReadBatch(ctx, dst)
		if err != nil {
			break
		}
		got += n
	}
	if drops == 0 || int(drops)+got != len(batch) {
		t.Errorf("%d dropped, %d read of %d", drops, got, len(batch))
	}
	// What came with the datagrams themselves (SO_RXQ_OVFL) agrees.
	if _, err := out.WriteBatch(batch[:1]); err != nil {
		t.Fatal(err)
	}
	in.sock.drops = dropCounter{}
	readN(t, in, 1)
	if got := in.sock.drops.total(); got != drops {
		t.Errorf("SO_RXQ_OVFL says %d, SO_MEMINFO %d", got, drops)
	}
	_ = in.Close()
	if in.SocketDrops() != drops {
		t.Error("forgotten on Close")
	}
}

func TestDropCounter_wrapsAndComesLate(t *testing.T) {
	var d dropCounter
	for _, tt := range []struct {
		see  uint32
		want uint64
	}{{5, 5}, {3, 5}, {1 << 31, 1 << 31}, {1<<32 - 1, 1<<32 - 1}, {2, 1<<32 + 2}, {1<<32 - 1, 1<<32 + 2}} {
		d.observe(tt.see)
		if d.total() != tt.want {
			t.Fatalf("after %d: %d, want %d", tt.see, d.total(), tt.want)
		}
	}
}

// A full socket buffer makes the sender wait, and ctx or Close ends that.
func TestWrite_waitsForRoom(t *testing.T) {
	in := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	out := connect(t, in.LocalAddr(), Config{})
	calls := 0
	out.sock.trySend = func(uintptr) bool { // the kernel says EAGAIN forever
		calls++
		return false
	}
	// The poller finds the socket writable time and again only on edges, so
	// the wait is real.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if n, err := out.write(ctx, numbered(10)); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("write = %d, %v", n, err)
	}
	if calls == 0 || calls > 10 {
		t.Errorf("tried %d times", calls)
	}
	out.sock.trySend = nil
	if n, err := out.write(t.Context(), numbered(10)); n != 1 || err != nil {
		t.Errorf("write = %d, %v", n, err)
	}
}

func TestListen_answersFromTheAddressAsked(t *testing.T) {
	for _, tt := range []struct{ name, listen string }{{"IPv4", "0.0.0.0"}, {"dual stack", "::"}} {
		t.Run(tt.name, func(t *testing.T) {
			server := listen(t, netip.MustParseAddr(tt.listen), Config{})
			// The system itself would answer from 127.0.0.1.
			client := connect(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.7"), server.LocalAddr().Port()), Config{})
			if _, err := client.WriteBatch(numbered(100, 100, 100)); err != nil {
				t.Fatal(err)
			}
			got := readN(t, server, 3)
			if got[0].Local != netip.MustParseAddr("127.0.0.7") {
				t.Fatalf("local address %v", got[0].Local)
			}
			if n, err := server.WriteBatch(got); n != 3 || err != nil {
				t.Fatalf("WriteBatch = %d, %v", n, err)
			}
			equalData(t, readN(t, client, 3), numbered(100, 100, 100)) // connected: takes nothing from elsewhere
		})
	}
}

// inNetns names the child of TestPathMTU.
const inNetns = "UDP_TEST_IN_NETNS"

// TestPathMTU_RFC7011_10_3_3 runs itself in a network namespace whose loopback
// has an MTU of 1500, and lowers it under a living socket.
func TestPathMTU_RFC7011_10_3_3(t *testing.T) {
	if os.Getenv(inNetns) == "" {
		ip, err := exec.LookPath("ip")
		if err != nil {
			t.Skip("ip(8) is not installed")
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPathMTU_RFC7011_10_3_3$", "-test.v")
		cmd.Env = append(os.Environ(), inNetns+"="+ip)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
		out, err := cmd.CombinedOutput()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			t.Skipf("no network namespace: %v", err)
		}
		if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	lo := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(os.Getenv(inNetns), append(strings.Fields("link set dev lo"), args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	lo("up")
	families(t, func(t *testing.T, addr netip.Addr) {
		lo("mtu", "1500")
		headers := 28
		if addr.Is6() {
			headers = 48
		}
		in := listen(t, addr, Config{})
		out := connect(t, in.LocalAddr(), Config{})
		if got := out.MaxDatagram(in.LocalAddr()); got != 1500-headers {
			t.Fatalf("MaxDatagram = %d", got)
		}
		full := numbered(slices.Repeat([]int{1500 - headers}, 10)...)
		if n, err := out.WriteBatch(full); n != 10 || err != nil {
			t.Fatalf("WriteBatch = %d, %v", n, err)
		}
		equalData(t, readN(t, in, 10), full)
		if n, err := out.WriteBatch(numbered(100, 1501-headers)); n != 1 || !errors.Is(err, transport.ErrTooLarge) {
			t.Errorf("one octet too many: %d, %v", n, err)
		}
		readN(t, in, 1)

		lo("mtu", "1300")
		n, err := out.WriteBatch(full)
		if n != 0 || !errors.Is(err, transport.ErrTooLarge) {
			t.Fatalf("WriteBatch = %d, %v", n, err)
		}
		if got := out.MaxDatagram(in.LocalAddr()); got != 1300-headers {
			t.Fatalf("after the refusal MaxDatagram = %d", got)
		}
		less := numbered(slices.Repeat([]int{1300 - headers}, 10)...)
		if n, err := out.WriteBatch(less); n != 10 || err != nil {
			t.Fatalf("WriteBatch = %d, %v", n, err)
		}
		equalData(t, readN(t, in, 10), less)

		// The way goes away altogether: a hint, and the session lives on.
		s := newSession(connect(t, in.LocalAddr(), Config{}))
		defer s.Close(t.Context())
		if _, err := s.Send(t.Context(), []transport.Outgoing{{Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		readN(t, in, 1)
		if addr.Is4() {
			return // its routes outlive the link
		}
		lo("down")
		if n, err := s.Send(t.Context(), []transport.Outgoing{{Data: []byte("x")}, {Data: []byte("y")}}); n != 2 || err != nil {
			t.Errorf("without a way: %d, %v", n, err)
		}
		if st := s.Stats(); st.SendErrors != 2 || st.UnreachableHints == 0 || st.MessagesSent != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestReceiveBuffer(t *testing.T) {
	in := listen(t, netip.MustParseAddr("127.0.0.1"), Config{})
	if got := in.ReceiveBuffer(); got < 200_000 {
		t.Errorf("%d octets", got)
	}
}

// setMode makes a benchmark's sockets do without what mode does not name.
func setMode(in, out *Conn, mode string) {
	if mode == "mmsg" {
		out.sock.gso = false
	}
	if mode != "GSO to GRO" {
		in.sock.option(unix.SOL_UDP, unix.UDP_GRO, 0)
	}
}

// What is to stay apart is not made one run.
func TestApart(t *testing.T) {
	families(t, func(t *testing.T, addr netip.Addr) {
		in := listen(t, addr, Config{})
		out := connect(t, in.LocalAddr(), Config{Apart: true})
		if _, err := out.WriteBatch(numbered(slices.Repeat([]int{1200}, 4)...)); err != nil {
			t.Fatal(err)
		}
		if out.sock.n != 4 || out.sock.segments[0] != 1 {
			t.Errorf("sent as %d messages, the first of %d datagrams", out.sock.n, out.sock.segments[0])
		}
	})
}
