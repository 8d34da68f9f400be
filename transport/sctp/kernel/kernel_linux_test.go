//go:build linux && !386

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport"
	"ipfixsuite/transport/sctp"
)

// quick notices a dead peer in less than a second.
var quick = sctp.Config{
	RTOInitial: 100 * time.Millisecond, RTOMin: 50 * time.Millisecond, RTOMax: 200 * time.Millisecond,
	MaxRetransmits: 3, PathRetransmits: 2, Heartbeat: 200 * time.Millisecond,
}

// patience is for what comes at once, on a machine that is busy.
const patience = 20 * time.Second

// A kernel without SCTP is called that, and what needs none is named.
func testUnsupported(t *testing.T) {
	at := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:4739")}
	_, listenErr := Listen(at, sctp.Config{})
	_, dialErr := Dial(t.Context(), nil, at, sctp.Config{})
	for _, err := range []error{listenErr, dialErr} {
		without, ok := errors.AsType[*UnsupportedError](err)
		if !ok || !strings.Contains(err.Error(), "this kernel has no SCTP") || !strings.Contains(err.Error(), "sctp+udp://") {
			t.Fatalf("error %v", err)
		}
		if !strings.Contains(without.Hint(), "+udp") || !strings.Contains(without.Hint(), "modprobe sctp") {
			t.Errorf("hint %q", without.Hint())
		}
	}
}

func TestAddress(t *testing.T) {
	p := netip.MustParseAddrPort
	if _, err := address([]netip.AddrPort{p("192.0.2.1:1"), p("192.0.2.2:2")}); err == nil {
		t.Error("two ports were taken")
	}
	a, err := address([]netip.AddrPort{p("192.0.2.1:4739"), p("[2001:db8::1]:4739")})
	if err != nil || a.String() != "192.0.2.1/[2001:db8::1]:4739" {
		t.Errorf("%v, %v", a, err)
	}
}

func TestKernel(t *testing.T) {
	if !uml.Inside() {
		uml.Job{}.Self(t)
		return
	}
	modprobe := withoutModules(t, func() { t.Run("unsupported", testUnsupported) })
	harness.Run(t, modprobe, "sctp")
	for name, value := range map[string]string{"auth_enable": "1", "cookie_hmac_alg": "sha1"} {
		if err := os.WriteFile("/proc/sys/net/sctp/"+name, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"warm", func(t *testing.T) { pair(t, sctp.Config{}, sctp.Config{}) }},
		{"messages", testMessages}, {"long", testLong}, {"ipv6", testIPv6}, {"shutdown", testShutdown}, {"abort", testAbort},
		{"auth", testAuth}, {"cancel", testCancel}, {"full", testFull}, {"allocations", testAllocations},
		{"lifetime", testLifetime}, {"silence", testSilence}, {"addresses", testAddresses}, {"refused", testRefused}, {"late", testLate}, {"options", testOptions},
	} {
		before := descriptors(t)
		t.Run(c.name, c.test)
		if after := descriptors(t); after > before && c.name != "warm" {
			t.Errorf("%s: %d descriptors, %d before", c.name, after, before)
		}
	}
}

// withoutModules keeps the guest's kernel from loading any while f runs.
func withoutModules(t *testing.T, f func()) (modprobe string) {
	t.Helper()
	const loader = "/proc/sys/kernel/modprobe"
	was, err := os.ReadFile(loader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(value []byte) {
		if err := os.WriteFile(loader, value, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set([]byte("/none"))
	f()
	set(was)
	return strings.TrimSpace(string(was))
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// end is an association whose reader runs.
type end struct {
	sctp.Association
	events chan sctp.Event // data cloned
	err    chan error
}

func begin(t *testing.T, a sctp.Association) *end {
	e := &end{a, make(chan sctp.Event, 1024), make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			var ev sctp.Event
			if err := a.Receive(&ev); err != nil {
				e.err <- err
				close(e.events)
				return
			}
			ev.Message.Data = bytes.Clone(ev.Message.Data)
			e.events <- ev
		}
	}()
	t.Cleanup(func() {
		a.Abort("")
		for range e.events {
		}
		<-done
	})
	return e
}

// next waits for an event of this kind, past hints of paths.
func (e *end) next(t *testing.T, kind sctp.EventKind) sctp.Event {
	t.Helper()
	for {
		select {
		case ev, ok := <-e.events:
			if !ok {
				t.Fatalf("association over: %v", <-e.err)
			}
			if ev.Kind != kind && (ev.Kind == sctp.EventPathDown || ev.Kind == sctp.EventPathUp) {
				continue
			}
			if ev.Kind != kind {
				t.Fatalf("event %+v, want kind %d", ev, kind)
			}
			return ev
		case <-time.After(patience):
			t.Fatalf("no event of kind %d", kind)
		}
	}
}

// over waits for the end, past all events.
func (e *end) over(t *testing.T) (failed []uint32, err error) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case ev, ok := <-e.events:
			if !ok {
				return failed, <-e.err
			}
			if ev.Kind == sctp.EventSendFailed {
				failed = append(failed, ev.Message.Tag)
			}
		case <-deadline:
			t.Fatal("the association did not end")
		}
	}
}

func (e *end) send(t *testing.T, batch ...sctp.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if n, err := e.Send(ctx, batch); err != nil || n != len(batch) {
		t.Fatalf("sent %d of %d: %v", n, len(batch), err)
	}
}

func (e *end) drain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := e.Drain(ctx); err != nil {
		t.Fatal(err)
	}
}

// acknowledged waits until the fate of so many messages is known, and no more.
func (e *end) acknowledged(t *testing.T, want uint64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for e.Acknowledged() < want {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d messages acknowledged, want %d", e.Acknowledged(), want)
		}
	}
	if n := e.Acknowledged(); n != want {
		t.Errorf("%d messages acknowledged, want %d", n, want)
	}
}

// listen and pair make ends on the loopback.
func listen(t *testing.T, cfg sctp.Config, at ...string) sctp.Acceptor {
	t.Helper()
	l, err := Listen(ends(at...), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func ends(at ...string) (list []netip.AddrPort) {
	for _, a := range at {
		list = append(list, netip.MustParseAddrPort(a))
	}
	return list
}

// from is the client's end; nil: of the system's choice.
var from []netip.AddrPort

func pair(t *testing.T, client, server sctp.Config) (c, s *end) {
	t.Helper()
	return connect(t, client, listen(t, server, "127.0.0.1:0"))
}

func connect(t *testing.T, client sctp.Config, l sctp.Acceptor, also ...string) (c, s *end) {
	t.Helper()
	to := []netip.AddrPort{l.Addr()}
	for _, a := range also {
		to = append(to, netip.AddrPortFrom(netip.MustParseAddr(a), l.Addr().Port()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ca, err := Dial(ctx, from, to, client)
	if err != nil {
		t.Fatal(err)
	}
	c = begin(t, ca)
	sa, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return c, begin(t, sa)
}

// Messages of all sizes come whole, on their streams (RFC 7011, Section
// 10.2.6), with PPID 0, in order.
func testMessages(t *testing.T) {
	c, s := pair(t, sctp.Config{OutStreams: 10, InStreams: 3}, sctp.Config{OutStreams: 5})
	if out, in := c.Streams(); out != 10 || in != 3 {
		t.Errorf("client has %d streams out, %d in, want 10 and 3", out, in)
	}
	if out, in := s.Streams(); out != 3 || in != 10 {
		t.Errorf("server has %d streams out, %d in, want 3 and 10", out, in)
	}
	if c.RemoteAddr() != s.LocalAddr() || c.LocalAddr() != s.RemoteAddr() {
		t.Errorf("addresses %v-%v and %v-%v", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}
	var batch []sctp.Message
	for i, size := range []int{1, 16, 1452, 1453, 4095, 4096, 4097, 20000, 65535, 2} {
		batch = append(batch, sctp.Message{Stream: uint16(i), PPID: uint32(i) << 24, Unordered: i == 3, Data: bytes.Repeat([]byte{byte(i)}, size)})
	}
	c.send(t, batch...)
	c.drain(t)
	c.acknowledged(t, uint64(len(batch)))
	for _, want := range batch {
		got := s.next(t, sctp.EventMessage).Message
		if got.Stream != want.Stream || got.PPID != want.PPID || got.Unordered != want.Unordered || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("got %d octets on stream %d ppid %d unordered %v; want %d on %d", len(got.Data), got.Stream, got.PPID, got.Unordered, len(want.Data), want.Stream)
		}
	}
	many := make([]sctp.Message, 100)
	for i := range many {
		many[i] = sctp.Message{Stream: 1, Data: fmt.Appendf(nil, "%d", i)}
	}
	s.send(t, many...)
	for i := range many {
		if got := c.next(t, sctp.EventMessage).Message; string(got.Data) != fmt.Sprint(i) || got.Stream != 1 {
			t.Fatalf("message %d is %q on stream %d", i, got.Data, got.Stream)
		}
	}
	for _, m := range []struct {
		sctp.Message
		want error
	}{
		{sctp.Message{Stream: 10, Data: []byte{1}}, sctp.ErrStream},
		{sctp.Message{Data: make([]byte, 65536)}, transport.ErrTooLarge},
		{sctp.Message{}, errEmpty},
	} {
		if n, err := c.Send(t.Context(), []sctp.Message{{Data: []byte{1}}, m.Message, {Data: []byte{2}}}); n != 1 || !errors.Is(err, m.want) {
			t.Errorf("took %d, %v; want 1, %v", n, err, m.want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Heartbeat(ctx); err != nil {
		t.Errorf("heartbeat: %v", err)
	}
	if st := c.Stats(); st.MessagesSent != 13 || st.MessagesReceived != 100 || st.Abandoned != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A message longer than any of IPFIX is another protocol's: nothing of it is
// delivered, and the association is over.
func testLong(t *testing.T) {
	for _, size := range []int{maxMessage + 1, 2 * maxMessage} {
		c, s := pair(t, sctp.Config{}, sctp.Config{})
		err := c.Association.(*association).control(func(fd int) error { return unix.Sendto(fd, make([]byte, size), 0, nil) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.over(t); !errors.Is(err, transport.ErrTooLarge) {
			t.Errorf("%d octets: %v", size, err)
		}
		if n := s.Stats().MessagesReceived; n != 0 {
			t.Errorf("%d octets: delivered", size)
		}
		_, err = c.over(t)
		if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted {
			t.Errorf("%d octets: the client is told %v", size, err)
		}
	}
}

func testIPv6(t *testing.T) {
	for _, at := range []string{"[::1]:0", "[::]:0"} {
		l := listen(t, sctp.Config{}, at)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ca, err := Dial(ctx, nil, []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Loopback(), l.Addr().Port())}, sctp.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c := begin(t, ca)
		sa, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := begin(t, sa)
		c.send(t, sctp.Message{Data: []byte("six")})
		if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "six" {
			t.Errorf("got %q", got.Message.Data)
		}
		if !s.RemoteAddr().Addr().Is6() {
			t.Errorf("remote %v", s.RemoteAddr())
		}
	}
	// All addresses, both families.
	c, s := connect(t, sctp.Config{}, &fourOf{listen(t, sctp.Config{}, "[::]:0")})
	c.send(t, sctp.Message{Data: []byte("four")})
	if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "four" || !s.RemoteAddr().Addr().Is4() {
		t.Errorf("got %q from %v", got.Message.Data, s.RemoteAddr())
	}
}

// fourOf is an acceptor reached by its IPv4 address.
type fourOf struct{ sctp.Acceptor }

func (f *fourOf) Addr() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), f.Acceptor.Addr().Port())
}

// The side that is told of a shutdown has everything that was sent before
// (RFC 9260, Section 9.2).
func testShutdown(t *testing.T) {
	c, s := pair(t, sctp.Config{}, sctp.Config{})
	big := bytes.Repeat([]byte("x"), 60000)
	c.send(t, sctp.Message{Data: big}, sctp.Message{Stream: 1, Data: big})
	if err := c.Shutdown(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := s.next(t, sctp.EventMessage); len(got.Message.Data) != len(big) {
			t.Errorf("%d octets", len(got.Message.Data))
		}
	}
	s.next(t, sctp.EventPeerShutdown)
	if _, err := s.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("server: %v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("client: %v", err)
	}
	for _, e := range []*end{c, s} {
		if _, err := e.Send(t.Context(), []sctp.Message{{Data: big}}); err == nil {
			t.Error("an ended association took a message")
		}
		if err := e.Drain(t.Context()); err == nil {
			t.Error("an ended association drained")
		}
		if err := e.Heartbeat(t.Context()); err == nil {
			t.Error("an ended association answered")
		}
		_ = e.Stats()
		e.Abort("again")
		e.Abort("and again")
	}

	// On a long way, too, nobody is sent an ABORT by who was told first.
	harness.Run(t, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "60ms")
	aborts := aborted(t)
	c, s = pair(t, sctp.Config{}, sctp.Config{})
	if err := c.Shutdown(); err != nil {
		t.Error(err)
	}
	if _, err := s.over(t); !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("server: %v", err)
	}
	s.Abort("frees it")
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("client: %v", err)
	}
	if n := aborted(t); n != aborts {
		t.Errorf("%d associations aborted", n-aborts)
	}
	harness.Run(t, "tc", "qdisc", "del", "dev", "lo", "root")

	// Both at once: each has what the other sent, and knows that it has.
	for i := range 20 {
		c, s = pair(t, sctp.Config{}, sctp.Config{})
		c.send(t, sctp.Message{Data: []byte("c")}, sctp.Message{Stream: 1, Data: []byte("c")})
		s.send(t, sctp.Message{Data: []byte("s")})
		if err := errors.Join(c.Shutdown(), s.Shutdown()); err != nil {
			t.Fatal(err)
		}
		for e, sent := range map[*end]uint64{c: 2, s: 1} {
			if _, err := e.over(t); !errors.Is(err, transport.ErrClosed) {
				t.Errorf("%v", err)
			}
			if n := e.Acknowledged(); n != sent || e.Stats().MessagesReceived != 3-sent {
				t.Errorf("round %d: %d of %d messages acknowledged, %d received", i, n, sent, e.Stats().MessagesReceived)
			}
		}
	}
}

// aborted counts the associations that this host has ended by ABORT.
func aborted(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/sctp/snmp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "SctpAborteds %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no SctpAborteds in\n%s", b)
	return 0
}

func testAbort(t *testing.T) {
	c, s := pair(t, sctp.Config{}, sctp.Config{})
	c.send(t, sctp.Message{Data: []byte("last")})
	c.drain(t)
	c.Abort("no more of this")
	if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "last" {
		t.Errorf("got %q", got.Message.Data)
	}
	_, err := s.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || !lost.Aborted || lost.Cause != causeUserAbort {
		t.Errorf("server: %#v", err)
	}
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("client: %v", err)
	}
}

// Both ends list DATA and FORWARD-TSN (RFC 6083, Section 4.5); a key's number
// changes in mid-traffic and the old one goes (Section 4.8).
func testAuth(t *testing.T) {
	c, s := pair(t, sctp.Config{Auth: true}, sctp.Config{Auth: true})
	for _, e := range []*end{c, s} {
		if got, err := e.PeerAuthChunks(); err != nil || !slices.Contains(got, sctp.ChunkData) || !slices.Contains(got, sctp.ChunkForwardTSN) {
			t.Errorf("peer's chunks % x, %v", got, err)
		}
	}
	talk := func(what string) {
		t.Helper()
		c.send(t, sctp.Message{Data: []byte(what)})
		s.send(t, sctp.Message{Data: []byte(what)})
		c.drain(t)
		s.drain(t)
		for _, e := range []*end{c, s} {
			if got := e.next(t, sctp.EventMessage); string(got.Message.Data) != what {
				t.Errorf("got %q, want %q", got.Message.Data, what)
			}
		}
	}
	talk("key 0")
	key := bytes.Repeat([]byte{0xA5}, 64)
	for _, e := range []*end{s, c} {
		if err := e.SetKey(1, key); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []*end{s, c} {
		if err := errors.Join(e.ActivateKey(1), e.DeleteKey(0)); err != nil {
			t.Fatal(err)
		}
	}
	talk("key 1")
	if err := c.ActivateKey(7); err == nil {
		t.Error("activated a key that is not there")
	}
	if err := c.SetKey(2, make([]byte, maxKeyLen+1)); err == nil {
		t.Error("a key of any length was taken")
	}

	// A peer without SCTP-AUTH lists nothing.
	c, _ = pair(t, sctp.Config{Auth: true}, sctp.Config{})
	if got, err := c.PeerAuthChunks(); err != nil || slices.Contains(got, sctp.ChunkData) {
		t.Errorf("peer's chunks % x, %v", got, err)
	}
	_, s = pair(t, sctp.Config{}, sctp.Config{})
	if got, err := s.PeerAuthChunks(); err != nil || len(got) != 0 {
		t.Errorf("peer's chunks % x, %v", got, err)
	}
}

// Whatever waits can be woken.
func testCancel(t *testing.T) {
	l := listen(t, sctp.Config{}, "127.0.0.1:0")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	waiting := make(chan error, 1)
	go func() { _, err := l.Accept(ctx); waiting <- err }()
	cancel(why)
	if err := <-waiting; !errors.Is(err, why) {
		t.Errorf("accept: %v", err)
	}
	c, _ := connect(t, sctp.Config{}, l) // the acceptor goes on
	go func() { _, err := l.Accept(t.Context()); waiting <- err }()
	_ = l.Close()
	if err := <-waiting; err == nil {
		t.Error("a closed acceptor accepted")
	}
	c.Abort("")
	if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	defer lose(t)()
	if _, err := Dial(ctx, nil, ends("127.0.0.1:4739"), sctp.Config{}); !errors.Is(err, why) {
		t.Errorf("dial: %v", err)
	}
	late, stop := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer stop()
	if _, err := Dial(late, nil, ends("127.0.0.1:4739"), sctp.Config{}); !errors.Is(err, why) {
		t.Errorf("dial: %v", err)
	}
}

// Send waits while the peer does not read, and goes on when it does.
func testFull(t *testing.T) {
	l := listen(t, sctp.Config{ReceiveBuffer: 8 << 10}, "127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ca, err := Dial(ctx, nil, []netip.AddrPort{l.Addr()}, sctp.Config{SendBuffer: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, ca)
	sa, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("full")
	full, stop := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, why)
	defer stop()
	sent := 0
	m := []sctp.Message{{Data: make([]byte, 1000)}}
	for err = nil; err == nil; sent++ {
		_, err = c.Send(full, m)
	}
	if sent--; !errors.Is(err, why) || sent < 10 {
		t.Fatalf("after %d messages: %v", sent, err)
	}
	rest := make(chan error, 1)
	go func() { _, err := c.Send(ctx, m); rest <- err }()
	s := begin(t, sa)
	for range sent + 1 {
		s.next(t, sctp.EventMessage)
	}
	if err := <-rest; err != nil {
		t.Error(err)
	}
	// The end wakes a sender too.
	s.Abort("")
	for err = nil; err == nil; {
		_, err = c.Send(ctx, m)
	}
	if ctx.Err() != nil {
		t.Error("the end did not wake the sender")
	}
}

// Neither sending nor receiving allocates.
func testAllocations(t *testing.T) {
	l := listen(t, sctp.Config{}, "127.0.0.1:0")
	c, err := Dial(t.Context(), nil, []netip.AddrPort{l.Addr()}, sctp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abort("")
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort("")
	batch := make([]sctp.Message, 8)
	for i := range batch {
		batch[i] = sctp.Message{Stream: uint16(i), Lifetime: time.Minute, Data: make([]byte, 1000)}
	}
	var ev sctp.Event
	ctx := t.Context()
	exchange := func() {
		if _, err := c.Send(ctx, batch); err != nil {
			t.Fatal(err)
		}
		for range batch {
			if err := s.Receive(&ev); err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange()
	if n := testing.AllocsPerRun(100, exchange); n > 0 {
		t.Errorf("%v allocations for %d messages", n, len(batch))
	}
}

// lose makes the loopback lose everything until it is called off.
func lose(t *testing.T) (off func()) {
	t.Helper()
	harness.Run(t, "tc", "qdisc", "replace", "dev", "lo", "root", "netem", "loss", "100%")
	gone := false
	off = func() {
		if !gone {
			gone = true
			harness.Run(t, "tc", "qdisc", "del", "dev", "lo", "root")
		}
	}
	t.Cleanup(off)
	return off
}

// Messages whose lifetime is over are given up and told, each by name, whether
// they had been sent or not (RFC 3758, Section 4.1); a reliable one behind them
// comes.
func testLifetime(t *testing.T) {
	c, s := pair(t, sctp.Config{MTU: 1400, RTOMax: 200 * time.Millisecond, RTOMin: 50 * time.Millisecond, MaxRetransmits: 1000, PathRetransmits: 1000}, sctp.Config{})
	if !c.PartialReliability() {
		t.Fatal("no partial reliability")
	}
	next := uint64(0)
	for _, size := range []int{60_000, 2000, 300} { // more than the congestion window, in part sent, and less
		abandoned, off := c.Stats().Abandoned, lose(t)
		const count = 10
		first := next
		for range count {
			c.send(t, sctp.Message{Stream: 1, Tag: uint32(next), Lifetime: 50 * time.Millisecond, Data: fmt.Appendf(make([]byte, 0, size), "%d", next)[:size]})
			next++
		}
		c.send(t, sctp.Message{Stream: 2, Tag: uint32(next), Data: []byte("here")})
		next++
		<-time.After(200 * time.Millisecond)
		off()
		missing := map[uint32]bool{}
		for i := range uint32(count) {
			missing[uint32(first)+i] = true
		}
		for {
			m := s.next(t, sctp.EventMessage).Message
			if string(m.Data) == "here" {
				break
			}
			var i uint32
			if _, err := fmt.Sscanf(string(m.Data), "%d", &i); err != nil || !missing[i] {
				t.Fatalf("%.20q, %v", m.Data, err)
			}
			delete(missing, i)
		}
		if len(missing) == 0 {
			t.Error("nothing was given up")
		}
		gone := len(missing)
		for len(missing) > 0 {
			ev := c.next(t, sctp.EventSendFailed)
			if ev.Message.Stream != 1 || ev.Message.Tag >= uint32(first)+count { // a piece of an earlier one may be late
				t.Errorf("failed: %+v", ev)
			}
			delete(missing, ev.Message.Tag)
		}
		c.drain(t)
		c.acknowledged(t, next)
		if n := c.Stats().Abandoned; n != abandoned+uint64(gone) {
			t.Errorf("%d given up, %d counted", gone, n-abandoned)
		}
		t.Logf("%d of %d octets given up; %d abandoned in all", gone, size, c.Stats().Abandoned)
	}
}

// A peer that does not answer is lost, and what it did not acknowledge is told
// message by message.
func testSilence(t *testing.T) {
	c, s := pair(t, quick, quick)
	c.send(t, sctp.Message{Tag: 1, Data: []byte("arrives")})
	s.next(t, sctp.EventMessage)
	c.drain(t)
	c.acknowledged(t, 1)
	lose(t)
	began := time.Now()
	c.send(t, sctp.Message{Tag: 2, Data: []byte("lost")}, sctp.Message{Tag: 3, Stream: 4, Data: []byte("lost")})
	if n := c.Acknowledged(); n != 1 {
		t.Errorf("%d acknowledged, want 1", n)
	}
	failed, err := c.over(t)
	if lost, ok := errors.AsType[*sctp.LostError](err); !ok || lost.Aborted {
		t.Errorf("%v", err)
	}
	slices.Sort(failed)
	if n := c.Acknowledged(); !slices.Equal(failed, []uint32{2, 3}) || n != 3 {
		t.Errorf("failed %v, want 2 and 3; fate of %d is known, want 3", failed, n)
	}
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	if _, err := s.over(t); err == nil {
		t.Error("the other side did not notice")
	}
}

// A peer of two addresses loses one: a hint, and the data goes on.
func testAddresses(t *testing.T) {
	harness.Run(t, "ip", "addr", "add", "127.0.0.2/8", "dev", "lo")
	defer harness.Try(t, "ip", "addr", "del", "127.0.0.2/8", "dev", "lo")
	cfg := quick
	cfg.MaxRetransmits = 100
	l := listen(t, cfg, "127.0.0.1:0", "127.0.0.2:0")
	harness.Run(t, "ip", "addr", "add", "127.0.0.3/8", "dev", "lo")
	defer harness.Try(t, "ip", "addr", "del", "127.0.0.3/8", "dev", "lo")
	from = ends("127.0.0.3:0") // its own is not to be cut
	defer func() { from = nil }()
	c, s := connect(t, cfg, l, "127.0.0.2")
	c.send(t, sctp.Message{Data: []byte("first")})
	s.next(t, sctp.EventMessage)
	harness.Run(t, "tc", "qdisc", "add", "dev", "lo", "clsact")
	defer harness.Try(t, "tc", "qdisc", "del", "dev", "lo", "clsact")
	harness.Run(t, "tc", "filter", "add", "dev", "lo", "egress", "protocol", "ip", "u32", "match", "ip", "dst", "127.0.0.1/32", "action", "drop")
	c.send(t, sctp.Message{Data: []byte("second")})
	if got := s.next(t, sctp.EventMessage); string(got.Message.Data) != "second" {
		t.Errorf("got %q", got.Message.Data)
	}
	if ev := c.path(t); ev.Kind != sctp.EventPathDown || ev.Path.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("event %+v", ev)
	}
	harness.Run(t, "tc", "qdisc", "del", "dev", "lo", "clsact")
	if ev := c.path(t); ev.Kind != sctp.EventPathUp || ev.Path.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("event %+v", ev)
	}
}

// path waits for news of one.
func (e *end) path(t *testing.T) sctp.Event {
	t.Helper()
	select {
	case ev, ok := <-e.events:
		if !ok {
			t.Fatalf("association over: %v", <-e.err)
		}
		return ev
	case <-time.After(patience):
		t.Fatal("no news of a path")
	}
	panic("unreachable")
}

func testRefused(t *testing.T) {
	_, err := Dial(t.Context(), nil, ends("127.0.0.1:9"), sctp.Config{})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	l := listen(t, sctp.Config{}, "127.0.0.1:0")
	if _, err := Listen([]netip.AddrPort{l.Addr()}, sctp.Config{}); err == nil {
		t.Error("bound twice")
	}
}

// What an association has brought that ended before it was accepted is still
// taken, as RFC 7011, Section 10.2.4, asks of an end in order.
func testLate(t *testing.T) {
	for _, abort := range []bool{false, true} {
		l := listen(t, sctp.Config{InStreams: 7}, "127.0.0.1:0")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		ca, err := Dial(ctx, nil, []netip.AddrPort{l.Addr()}, sctp.Config{InStreams: 5})
		if err != nil {
			t.Fatal(err)
		}
		c := begin(t, ca)
		c.send(t, sctp.Message{Data: []byte("first")}, sctp.Message{Stream: 1, Data: []byte("second")})
		c.drain(t)
		if abort {
			c.Abort("")
		} else if err := c.Shutdown(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.over(t); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("client: %v", err)
		}
		sa, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s := begin(t, sa)
		if out, in := s.Streams(); out != 5 || in != 7 || s.RemoteAddr() != c.LocalAddr() || s.LocalAddr() != l.Addr() {
			t.Errorf("%d streams out and %d in, from %v to %v", out, in, s.RemoteAddr(), s.LocalAddr())
		}
		for i, want := range []string{"first", "second"} {
			if got := s.next(t, sctp.EventMessage).Message; string(got.Data) != want || int(got.Stream) != i {
				t.Errorf("got %q on stream %d", got.Data, got.Stream)
			}
		}
		_, err = s.over(t)
		if lost, ok := errors.AsType[*sctp.LostError](err); ok != abort || ok && !lost.Aborted || !ok && !errors.Is(err, transport.ErrPeerClosed) {
			t.Errorf("aborted %v: the end is %v", abort, err)
		}
		if _, err := s.Send(ctx, []sctp.Message{{Data: []byte("x")}}); err == nil {
			t.Error("an association that is over took a message")
		}
	}
}

// What was asked for is set, at both ends (RFC 6458, Section 8.1).
func testOptions(t *testing.T) {
	cfg := sctp.Config{
		Auth: true, Heartbeat: 700 * time.Millisecond, RTOMin: 150 * time.Millisecond, RTOInitial: 250 * time.Millisecond, RTOMax: 350 * time.Millisecond,
		MaxRetransmits: 7, PathRetransmits: 3,
	}
	c, s := pair(t, cfg, cfg)
	for name, e := range map[string]*end{"client": c, "server": s} {
		err := e.Association.(*association).control(func(fd int) error {
			read := func(option, size int) []byte {
				b := make([]byte, size)
				if _, err := getOption(fd, option, b); err != nil {
					t.Errorf("%s: option %d: %v", name, option, err)
				}
				return b
			}
			if native.Uint32(read(optNoDelay, 4)) != 1 {
				t.Errorf("%s: SCTP_NODELAY is off", name)
			}
			rto := read(optRTOInfo, 16)
			if a, b, c := native.Uint32(rto[4:]), native.Uint32(rto[8:]), native.Uint32(rto[12:]); a != 250 || b != 350 || c != 150 {
				t.Errorf("%s: RTO %d, at most %d, at least %d ms", name, a, b, c)
			}
			if n := native.Uint16(read(optAssocInfo, 20)[4:]); n != 7 {
				t.Errorf("%s: %d retransmissions", name, n)
			}
			path := read(optPathParameters, pathParamsLen)
			if every, n := native.Uint32(path[132:]), native.Uint16(path[136:]); every != 700 || n != 3 {
				t.Errorf("%s: heartbeats every %d ms, %d retransmissions on a path", name, every, n)
			}
			if e == s {
				return nil // an accepted socket tells its own default, not what its association began with
			}
			hmacs := read(optHMACIdent, 8)
			if n := native.Uint32(hmacs); n != 2 || native.Uint16(hmacs[4:]) != 3 || native.Uint16(hmacs[6:]) != 1 {
				t.Errorf("%s: %d algorithms: % x", name, n, hmacs[4:])
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
