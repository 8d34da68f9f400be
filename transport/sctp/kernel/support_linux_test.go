//go:build linux && !386

package kernel

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport/sctp"
)

// patience is for what comes at once, on a machine that is busy.
const patience = 20 * time.Second

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
