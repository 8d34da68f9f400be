package sctp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

// plain is a session in the clear and what the collector sees of it.
func plain(t *testing.T, cfg SessionConfig) (s *session, got *sunk, l *serving, client, server *memory) {
	t.Helper()
	client, server = memoryPair(nil, nil)
	l = serve(t, SessionConfig{})
	s = connect(t, l, cfg, client, server)
	return s, l.session(t), l, client, server
}

// Messages go on the stream they are for, reliably, in order and with PPID 0,
// unless they may be given up (RFC 7011, Sections 10.2.3 and 10.2.6).
func TestSession_Streams_RFC7011_10_2(t *testing.T) {
	s, got, l, client, _ := plain(t, SessionConfig{Lifetime: time.Second})
	messages := []transport.Outgoing{out(0, "template"), out(3, "data"), {Stream: 7, Data: []byte("given up"), Unreliable: true}}
	send(t, s, messages...)
	expect(t, got, messages...)
	for i, m := range client.seen() {
		want := time.Duration(0)
		if i == 2 {
			want = time.Second
		}
		if m.PPID != 0 || m.Unordered || m.Lifetime != want || m.Stream != messages[i].Stream {
			t.Errorf("message %d: %+v", i, m.Message)
		}
	}
	if p := s.Properties(); p != (transport.Properties{Reliable: true, Ordered: true, Streams: memoryStreams, Partial: true, Confirms: transport.ConfirmTransport}) {
		t.Errorf("properties %+v", p)
	}
	want := s.Properties()
	want.Partial = false
	if got.props != want {
		t.Errorf("the collector's %+v", got.props)
	}
	if p := s.Peer(); p.Scheme != "sctp" || p.Identity != "192.0.2.2" || p.Session == 0 || got.peer.Identity != "192.0.2.1" {
		t.Errorf("peers %+v and %+v", p, got.peer)
	}
	if err := ask(t, s); err != nil || client.beats != 1 {
		t.Errorf("probe: %v, %d heartbeats", err, client.beats)
	}
	if st := s.Stats(); st.MessagesSent != 3 || st.BytesSent != 20 || st.ProbesAnswered != 1 {
		t.Errorf("stats %+v", st)
	}
	if st := l.Stats(); st.DatagramsReceived != 3 || st.BytesReceived != 20 || st.SessionsOpened != 1 {
		t.Errorf("listener's %+v", st)
	}
}

func TestSession_Refused(t *testing.T) {
	s, got, _, client, _ := plain(t, SessionConfig{})
	client.most = 10
	for _, c := range []struct {
		name string
		bad  transport.Outgoing
		want error
	}{
		{"too large", out(0, strings.Repeat("x", 11)), transport.ErrTooLarge},
		{"no such stream", out(memoryStreams, "x"), ErrStream},
	} {
		if n, err := s.Send(t.Context(), []transport.Outgoing{out(1, "before"), c.bad, out(1, "after")}); n != 1 || !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
		expect(t, got, out(1, "before"))
	}
	if n, err := s.Send(atOnce, []transport.Outgoing{out(0, "x")}); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d, %v", n, err)
	}
	if len(got.got) != 0 {
		t.Error("something was sent")
	}
}

// An Exporting Process that ends shuts the association down, and everything
// arrives (RFC 7011, Section 10.2.4).
func TestSession_Close_RFC7011_10_2_4(t *testing.T) {
	s, got, l, client, _ := plain(t, SessionConfig{})
	send(t, s, out(1, "last"))
	if err := closeSession(t, s); err != nil {
		t.Fatal(err)
	}
	expect(t, got, out(1, "last"))
	if err := receive(t, got.closed, "end"); err != nil {
		t.Errorf("the collector's end: %v", err)
	}
	if !client.stopped || s.Err() != nil {
		t.Errorf("shut down: %v, error %v", client.stopped, s.Err())
	}
	if _, err := s.Send(t.Context(), []transport.Outgoing{out(0, "x")}); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
	if err := ask(t, s); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("probe after close: %v", err)
	}
	if err := closeSession(t, s); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	if st := l.Stats(); st.SessionsClosed != 1 {
		t.Errorf("stats %+v", st)
	}
}

// Close says when the association did not end in order: what was acknowledged
// may not have been taken, and the messages that were not are told.
func TestSession_CloseMeetsAbort(t *testing.T) {
	s, got, _, client, server := plain(t, SessionConfig{})
	send(t, s, out(1, "arrives"))
	expect(t, got, out(1, "arrives"))
	client.w.hold(true)
	send(t, s, out(1, "never"))
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	until(t, "shutdown", func() bool { client.w.mu.Lock(); defer client.w.mu.Unlock(); return client.stopped })
	server.Abort("killed")
	if lost, ok := errors.AsType[*LostError](receive(t, closed, "end of Close")); !ok || !lost.Aborted {
		t.Errorf("%v", lost)
	}
	if d := cmp.Diff([]transport.Fate{{First: 2, Last: 2}, {First: 1, Last: 1, Arrived: true}}, s.Fates(nil)); d != "" {
		t.Error(d)
	}
	// One that had ended before has told so by Err.
	s, _, _, _, server = plain(t, SessionConfig{})
	server.Abort("killed")
	receive(t, s.Done(), "end of the session")
	if err := closeSession(t, s); err != nil || s.Err() == nil {
		t.Errorf("%v, ended by %v", err, s.Err())
	}
}

// A peer that does not answer cannot hold Close up.
func TestSession_CloseInAHurry(t *testing.T) {
	s, _, _, client, _ := plain(t, SessionConfig{})
	client.w.hold(true)
	send(t, s, out(1, "never"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	receive(t, s.Done(), "end of the session")
}

// The collector's end: it takes what is under way until the exporter has
// closed its end too (RFC 7011, Section 10.2.4).
func TestListener_Stop_RFC7011_10_2_4(t *testing.T) {
	s, got, l, client, _ := plain(t, SessionConfig{})
	client.w.hold(true)
	send(t, s, out(1, "under way"))
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	receive(t, l.acceptor.closedSoon(client), "shutdown")
	client.w.hold(false)
	_ = client.peer.Shutdown()
	expect(t, got, out(1, "under way"))
	if err := receive(t, stopped, "end of the listener"); err != nil {
		t.Error(err)
	}
	if err := receive(t, got.closed, "end"); !errors.Is(err, transport.ErrClosed) {
		t.Errorf("%v", err)
	}
	receive(t, s.Done(), "end of the session")
	if !errors.Is(s.Err(), transport.ErrPeerClosed) {
		t.Errorf("the exporter's end: %v", s.Err())
	}
	if n, err := s.Send(t.Context(), []transport.Outgoing{out(0, "x")}); n != 0 || !errors.Is(err, transport.ErrPeerClosed) {
		t.Errorf("%d, %v", n, err)
	}
}

// closedSoon is closed when the collector has asked for the association's end.
func (*memoryAcceptor) closedSoon(client *memory) <-chan struct{} {
	asked := make(chan struct{})
	go func() {
		client.w.mu.Lock()
		for !client.peer.stopped {
			client.w.cond.Wait()
		}
		client.w.mu.Unlock()
		close(asked)
	}()
	return asked
}

// An association that ends out of order ends the session with its reason, and
// the collector goes on listening (RFC 7011, Section 10.2.4, MUST).
func TestListener_Abort_RFC7011_10_2_4(t *testing.T) {
	s, got, l, client, _ := plain(t, SessionConfig{})
	client.Abort("router restarts")
	if lost, ok := errors.AsType[*LostError](receive(t, got.closed, "end")); !ok || !lost.Aborted || lost.Reason != "router restarts" {
		t.Errorf("%+v", lost)
	}
	receive(t, s.Done(), "end of the session")
	client, server := memoryPair(nil, nil)
	s = connect(t, l, SessionConfig{}, client, server)
	got = l.session(t)
	server.Abort("no")
	receive(t, s.Done(), "end of the session")
	if lost, ok := errors.AsType[*LostError](s.Err()); !ok || !lost.Aborted {
		t.Errorf("%v", s.Err())
	}
	receive(t, got.closed, "end")
}

// A message too long for IPFIX ends its association, and is counted.
func TestListener_Oversized(t *testing.T) {
	_, got, l, _, server := plain(t, SessionConfig{})
	server.w.mu.Lock()
	server.finish(transport.ErrTooLarge) // as the stack tells
	server.w.mu.Unlock()
	if err := receive(t, got.closed, "end"); !errors.Is(err, transport.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if n := l.Stats().Dropped["oversized"]; n != 1 {
		t.Errorf("dropped %v", l.Stats().Dropped)
	}
}

func TestListener_Restart(t *testing.T) {
	s, got, _, _, server := plain(t, SessionConfig{})
	server.in <- Event{Kind: EventRestart}
	if err := receive(t, got.closed, "end"); !errors.Is(err, errRestart) {
		t.Errorf("%v", err)
	}
	receive(t, s.Done(), "end of the session")

	s, _, _, client, _ := plain(t, SessionConfig{})
	client.in <- Event{Kind: EventRestart}
	receive(t, s.Done(), "end of the session")
	if !errors.Is(s.Err(), errRestart) {
		t.Errorf("%v", s.Err())
	}
}

// What SCTP tells of its messages is told message by message.
func TestSession_Fates(t *testing.T) {
	s, got, _, client, _ := plain(t, SessionConfig{})
	send(t, s, out(1, "1"), out(2, "2"))
	expect(t, got, out(1, "1"), out(2, "2"))
	want := []transport.Fate{{First: 1, Last: 2, Arrived: true}}
	if d := cmp.Diff(want, s.Fates(nil)); d != "" {
		t.Error(d)
	}
	client.w.hold(true)
	send(t, s, out(1, "3"), out(1, "4"), out(1, "5"))
	if got := s.Fates(nil); len(got) != 0 {
		t.Errorf("told %v", got)
	}
	// One is given up; its neighbours arrive.
	client.w.mu.Lock()
	lost := client.flight[1].m
	client.flight = slices.Delete(client.flight, 1, 2)
	client.acked++
	client.in <- Event{Kind: EventSendFailed, Message: Message{Stream: 1, Tag: lost.Tag}}
	client.w.mu.Unlock()
	client.in <- Event{Kind: EventPathDown} // behind it
	until(t, "hint", func() bool { return s.Stats().UnreachableHints > 0 })
	client.w.hold(false)
	send(t, s, out(1, "6"))
	want = []transport.Fate{{First: 4, Last: 4}, {First: 3, Last: 3, Arrived: true}, {First: 5, Last: 6, Arrived: true}}
	if d := cmp.Diff(want, s.Fates(nil)); d != "" {
		t.Error(d)
	}
	// The end tells of the rest.
	client.w.hold(true)
	send(t, s, out(1, "7"), out(1, "8"))
	client.lose()
	receive(t, s.Done(), "end of the session")
	if d := cmp.Diff([]transport.Fate{{First: 7, Last: 8}}, s.Fates(nil)); d != "" {
		t.Error(d)
	}
}

// Under a load that never stops, what became of the messages is known all the
// same.
func TestSession_Checkpoint(t *testing.T) {
	s, _, _, client, _ := plain(t, SessionConfig{})
	client.w.hold(true)
	send(t, s, out(1, "1"))
	s.progress = time.Now().Add(-2 * checkpoint)
	sent := make(chan error, 1)
	go func() { _, err := s.Send(t.Context(), []transport.Outgoing{out(1, "2")}); sent <- err }()
	until(t, "drain", func() bool { client.w.mu.Lock(); defer client.w.mu.Unlock(); return client.drained > 0 })
	select {
	case err := <-sent:
		t.Errorf("did not wait: %v", err)
	default:
	}
	client.w.mu.Lock()
	client.w.held = false
	client.move()
	client.w.mu.Unlock()
	if err := receive(t, sent, "send"); err != nil {
		t.Error(err)
	}
}

// A peer that takes nothing is busy, not dead, and Send says so soon.
func TestSession_Busy(t *testing.T) {
	s, got, _, client, _ := plain(t, SessionConfig{})
	client.w.mu.Lock()
	client.room = 3
	client.w.mu.Unlock()
	batch := []transport.Outgoing{out(1, "1"), out(1, "2"), out(1, "3")}
	if n, err := s.Send(t.Context(), batch); n != 2 || !errors.Is(err, transport.ErrBusy) {
		t.Errorf("took %d, %v", n, err)
	}
	_ = s.turn.take(t.Context()) // as a probe that waits for its stream
	if n, err := s.Send(t.Context(), batch[2:]); n != 0 || !errors.Is(err, transport.ErrBusy) {
		t.Errorf("took %d, %v", n, err)
	}
	s.turn.give()
	client.w.mu.Lock()
	client.room = 10
	client.w.mu.Unlock()
	send(t, s, batch[2])
	expect(t, got, batch...)
}

func TestListener_Limits(t *testing.T) {
	l := serve(t, SessionConfig{MaxSessions: 3, MaxSessionsPerPrefix: 2})
	var first *session
	for i := range 2 {
		client, server := memoryPair(nil, nil)
		s := connect(t, l, SessionConfig{}, client, server)
		l.session(t)
		if i == 0 {
			first = s
		}
	}
	offer := func(addr string) *memory {
		client, server := memoryPair(nil, nil)
		client.addr = addrPort(addr)
		l.acceptor.offered <- server
		return client
	}
	refused := func(c *memory, reason string) {
		t.Helper()
		receive(t, c.over, "refusal")
		if n := l.Stats().Dropped[reason]; n != 1 {
			t.Errorf("dropped %v", l.Stats().Dropped)
		}
	}
	refused(offer("192.0.2.200:1"), "prefix-limit")
	offer("198.51.100.1:1")
	l.session(t)
	refused(offer("203.0.113.1:1"), "session-limit")
	if err := closeSession(t, first); err != nil {
		t.Fatal(err)
	}
	until(t, "end", func() bool { return l.Stats().SessionsClosed > 0 })
	offer("192.0.2.201:1")
	l.session(t)
	if got := l.Stats().SessionsRefused; got != 2 {
		t.Errorf("%d refused", got)
	}
}

func TestListener_HandlerRefuses(t *testing.T) {
	l := serve(t, SessionConfig{}, func(k *sink) { k.refuse = errors.New("not you") })
	client, server := memoryPair(nil, nil)
	l.acceptor.offered <- server
	receive(t, client.over, "refusal")
	if err := l.stop(); err != nil || l.Stats().SessionsRefused != 1 || l.all != 0 {
		t.Errorf("%v, %+v, %d sessions", err, l.Stats(), l.all)
	}
}

func TestListener_Idle(t *testing.T) {
	l := serve(t, SessionConfig{IdleTimeout: 50 * time.Millisecond})
	client, server := memoryPair(nil, nil)
	s := connect(t, l, SessionConfig{}, client, server)
	got := l.session(t)
	if err := receive(t, got.closed, "end"); !errors.Is(err, errIdle) {
		t.Errorf("%v", err)
	}
	receive(t, s.Done(), "end of the session")
}
