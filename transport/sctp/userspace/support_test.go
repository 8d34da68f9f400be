package userspace

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
)

// patience bounds waiting for what has to come.
const patience = 30 * time.Second

func withPatience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

var loopback4 = netip.MustParseAddr("127.0.0.1")

const testPort = 4739

// got is an Event with its own copy of the data.
type got struct {
	sctp.Event
	data []byte
}

// end is one side of an association with a goroutine that receives.
type end struct {
	sctp.Association
	events chan got
	err    error // set before events is closed
}

func receive(t testing.TB, a sctp.Association) *end {
	t.Helper()
	e := &end{Association: a, events: make(chan got, 1<<16)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(e.events)
		for {
			var ev sctp.Event
			if e.err = a.Receive(&ev); e.err != nil {
				return
			}
			e.events <- got{ev, bytes.Clone(ev.Message.Data)}
		}
	})
	t.Cleanup(func() {
		a.Abort("test over")
		wg.Wait()
	})
	return e
}

// next waits for an event of a kind, passing over others.
func (e *end) next(t testing.TB, kind sctp.EventKind) got {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case ev, ok := <-e.events:
			if !ok {
				t.Fatalf("association ended: %v", e.err)
			}
			if ev.Kind == kind {
				return ev
			}
		case <-timeout.C:
			t.Fatalf("no event of kind %d", kind)
		}
	}
}

// over waits for the end and returns its error and the events before it.
func (e *end) over(t testing.TB) (before []got, err error) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case ev, ok := <-e.events:
			if !ok {
				return before, e.err
			}
			before = append(before, ev)
		case <-timeout.C:
			t.Fatal("association does not end")
		}
	}
}

func (e *end) send(t testing.TB, m ...sctp.Message) {
	t.Helper()
	if n, err := e.Send(withPatience(t), m); err != nil || n != len(m) {
		t.Fatalf("sent %d of %d: %v", n, len(m), err)
	}
}

func listen(t testing.TB, at netip.Addr, cfg Config) sctp.Acceptor {
	t.Helper()
	if !cfg.Local.IsValid() {
		cfg.Local = netip.AddrPortFrom(at, 0)
	}
	l, err := Listen(netip.AddrPortFrom(at, testPort), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t testing.TB, l sctp.Acceptor, cfg Config) (sctp.Association, error) {
	t.Helper()
	cfg.UDPPort = UDPAddr(l).Port()
	return Dial(withPatience(t), l.Addr(), cfg)
}

// pair is both ends of an association over loopback.
func pair(t testing.TB, server, client Config) (s, c *end) {
	t.Helper()
	l := listen(t, loopback4, server)
	return pairOn(t, l, client)
}

func pairOn(t testing.TB, l sctp.Acceptor, client Config) (s, c *end) {
	t.Helper()
	type accepted struct {
		a   sctp.Association
		err error
	}
	ch := make(chan accepted, 1)
	ctx := withPatience(t)
	go func() {
		a, err := l.Accept(ctx)
		ch <- accepted{a, err}
	}()
	ca, err := dial(t, l, client)
	if err != nil {
		t.Fatal(err)
	}
	sa := <-ch
	if sa.err != nil {
		t.Fatal(sa.err)
	}
	return receive(t, sa.a), receive(t, ca)
}

// numbered is a message that can be told from others.
func numbered(i, size int) []byte {
	b := make([]byte, size)
	copy(b, fmt.Sprintf("%08d", i))
	for j := 8; j < size; j++ {
		b[j] = byte(i + j)
	}
	return b
}

// waitFor lets time pass that a test needs.
func waitFor(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// eventually waits until ok holds; state shows what is instead.
func eventually(t testing.TB, ok func() bool, state func() any) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("does not come to be: %+v", state())
		}
		waitFor(t, time.Millisecond)
	}
}

// hasty are timers for tests in which something is lost.
func hasty() Config {
	return Config{Config: sctp.Config{
		RTOInitial: 50 * time.Millisecond, RTOMin: 20 * time.Millisecond, RTOMax: 100 * time.Millisecond,
		Heartbeat: 50 * time.Millisecond, MaxRetransmits: 6, PathRetransmits: 3,
	}}
}

// patient are hasty, but never give up.
func patient() Config {
	c := hasty()
	c.MaxRetransmits, c.PathRetransmits = 1<<20, 1<<20
	return c
}
