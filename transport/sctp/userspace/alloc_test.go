//go:build !race

package userspace

import (
	"runtime"
	"strings"
	"testing"

	"ipfixsuite/transport/sctp"
)

// Moving messages allocates nothing of ours: what is allocated is the engine's.
// (Under the race detector pools forget what they hold.)
func TestTraffic_NoAllocationOfOurs(t *testing.T) {
	for _, auth := range []bool{false, true} {
		var cfg Config
		cfg.Auth, cfg.MTU = auth, 1500
		l := listen(t, loopback4, cfg)
		c, err := dial(t, l, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept(withPatience(t))
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ended by Abort
			var ev sctp.Event
			for c.Receive(&ev) == nil {
			}
		}()
		batch := make([]sctp.Message, 16)
		for i := range batch {
			batch[i] = sctp.Message{Stream: uint16(i), Data: make([]byte, 700)}
		}
		ctx := t.Context()
		round := func() {
			if _, err := c.Send(ctx, batch); err != nil {
				t.Fatal(err)
			}
			var ev sctp.Event
			for range batch {
				if err := s.Receive(&ev); err != nil {
					t.Fatal(err)
				}
			}
		}
		const rounds = 100
		for range rounds { // until every buffer has its size
			round()
		}
		before := allocated()
		old := runtime.MemProfileRate
		runtime.MemProfileRate = 1
		for range rounds {
			round()
		}
		runtime.MemProfileRate = old
		const messages = rounds * 16
		ours, all := 0.0, 0.0
		for place, n := range allocated() {
			n -= before[place]
			all += float64(n)
			if strings.HasPrefix(place, "ipfixsuite/") && n > 0 {
				ours += float64(n)
				if n > messages/20 { // the pools' own bookkeeping is less
					t.Errorf("auth %v: %d objects for %d messages by %s", auth, n, messages, place)
				}
			}
		}
		t.Logf("auth %v: %.4f objects a message of ours, %.1f of the engine's", auth, ours/messages, (all-ours)/messages)
		if all < messages {
			t.Errorf("auth %v: %v objects in all: the profile does not see them", auth, all)
		}
		c.Abort("")
		s.Abort("")
		l.Close()
	}
}

// allocated counts the objects ever allocated by the function that asked for
// them: ours, or another one outside of the runtime.
func allocated() map[string]int64 {
	// What was allocated is in the profile after the second collection.
	runtime.GC()
	runtime.GC()
	var records []runtime.MemProfileRecord
	for n, ok := runtime.MemProfile(nil, true); !ok; n, ok = runtime.MemProfile(records, true) {
		records = make([]runtime.MemProfileRecord, n+50)
	}
	places := map[string]int64{}
	for _, r := range records {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if f.Function == "" || strings.HasPrefix(f.Function, "runtime.") || strings.HasPrefix(f.Function, "sync.") || strings.HasPrefix(f.Function, "internal/") {
				continue
			}
			if !strings.HasSuffix(f.File, "_test.go") {
				places[f.Function] += r.AllocObjects
			}
			break
		}
	}
	return places
}
