package collect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

// saving is a collector whose clock the test turns.
func saving(t testing.TB, now time.Time, sinks ...Sink) *Collector {
	t.Helper()
	c := New(Config{Sinks: sinks, SaveTemplates: true, Offline: true})
	c.now = func() time.Time { return now }
	return c
}

func from(addr string, session uint64) transport.Peer {
	p := peer("192.0.2.1", session)
	p.Remote = netip.MustParseAddrPort(addr)
	return p
}

func openFrom(t testing.TB, c *Collector, p transport.Peer, props transport.Properties) transport.Receiver {
	t.Helper()
	r, err := c.Open(p, props)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func savedBy(t testing.TB, c *Collector) []byte {
	t.Helper()
	b, ok := c.AppendTemplates(nil)
	if !ok {
		t.Fatal("not saved")
	}
	return b
}

// A collector that restarts decodes what comes next from a plain datagram
// session, whose exporter does not know of it; whether the end came in order or
// not.
func TestTemplatesOverRestart_RFC7011_8(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		t.Run(fmt.Sprint("in order ", orderly), func(t *testing.T) {
			first := saving(t, start)
			before := first.TemplateChanges()
			r := openFrom(t, first, from("192.0.2.1:4000", 1), udp)
			r.Message(transport.Incoming{Data: message(7, 0, set(2, addresses+strung)), Received: start})
			openFrom(t, first, from("192.0.2.1:4001", 2), udp)
			secure := openFrom(t, first, from("192.0.2.1:4002", 3), transport.Properties{Secure: true})
			secure.Message(transport.Incoming{Data: message(7, 0, set(2, addresses)), Received: start})
			if first.TemplateChanges() == before {
				t.Error("no change was noted")
			}
			if orderly {
				r.Closed(transport.ErrClosed)
				if err := first.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			b := savedBy(t, first)

			sink := &memory{}
			c := saving(t, start.Add(10*time.Minute), sink)
			if n, err := c.LoadTemplates(b); n != 1 || err != nil {
				t.Fatalf("%d sessions, %v", n, err)
			}
			// Another port is another session, and gets nothing of it.
			openFrom(t, c, from("192.0.2.1:4009", 8), udp).Message(transport.Incoming{Data: message(7, 5, set(256, flow)), Received: start.Add(10 * time.Minute)})
			r = openFrom(t, c, from("192.0.2.1:4000", 9), udp)
			r.Message(transport.Incoming{Data: message(7, 5, set(256, flow), set(257, "06 03616263")), Received: start.Add(10 * time.Minute)})
			want := []string{"7/256: c0000201c0000202", "7/257: 0603616263"}
			if diff := cmp.Diff(want, sink.batches); diff != "" {
				t.Error(diff)
			}
			if st := c.Stats(); st.EarlySets != 1 || st.Templates.Restored != 2 || st.Sequence.Lost != 0 {
				t.Errorf("early %d, restored %d, lost %d", st.EarlySets, st.Templates.Restored, st.Sequence.Lost)
			}
			// It is there still if the next end comes before the exporter says
			// its templates again, and a session that nobody opened is not lost.
			if again := savedBy(t, c); !strings.Contains(string(again), "192.0.2.1:4000") || strings.Contains(string(again), "4002") {
				t.Errorf("%s", again)
			}
		})
	}
}

func TestTemplatesOverRestart_Dormant(t *testing.T) {
	first := saving(t, start)
	openFrom(t, first, from("192.0.2.1:4000", 1), udp).Message(transport.Incoming{Data: message(7, 0, set(2, addresses)), Received: start})
	b := savedBy(t, first)
	// Restarted, and restarted again before the exporter was heard.
	second := saving(t, start.Add(time.Minute))
	if n, err := second.LoadTemplates(b); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if diff := cmp.Diff(string(b), string(savedBy(t, second))); diff != "" {
		t.Error(diff)
	}
	// Half an hour later its templates have expired (RFC 7011, Section 8.4).
	third := saving(t, start.Add(31*time.Minute))
	if n, err := third.LoadTemplates(b); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	// One who ends for silence is gone.
	r := openFrom(t, second, from("192.0.2.1:4000", 2), udp)
	r.Closed(context.DeadlineExceeded)
	if got := string(savedBy(t, second)); strings.Contains(got, "4000") {
		t.Error(got)
	}
}

// What is repeated is worth a save now and then, not each time.
func TestTemplateChanges(t *testing.T) {
	c := saving(t, start)
	r := openFrom(t, c, from("192.0.2.1:4000", 1), udp)
	for s := range 600 {
		r.Message(transport.Incoming{Data: exported(s, message(7, 0, set(2, addresses))), Received: start.Add(time.Duration(s) * time.Second)})
	}
	if n := c.TemplateChanges(); n < 5 || n > 15 {
		t.Errorf("%d changes", n)
	}
}

func TestLoadTemplates_Refuses(t *testing.T) {
	first := saving(t, start)
	openFrom(t, first, from("192.0.2.1:4000", 1), udp).Message(transport.Incoming{Data: message(7, 0, set(2, addresses)), Received: start})
	good := string(savedBy(t, first))
	for name, row := range map[string]struct{ bad, why string }{
		"nothing":        {"", "EOF"},
		"cut short":      {good[:len(good)-9], "EOF"},
		"more behind":    {good + "7", "more than one"},
		"another format": {strings.Replace(good, `"version":1`, `"version":9`, 1), "version 9"},
		"unknown field":  {strings.Replace(good, `"domains"`, `"demons"`, 1), "demons"},
		"no address":     {strings.Replace(good, `"192.0.2.1:4000"`, `""`, 1), "no address"},
		"no template":    {strings.Replace(good, `"record":"AQAA`, `"record":"`, 1), "session 0, udp 192.0.2.1:4000"},
	} {
		c := saving(t, start)
		n, err := c.LoadTemplates([]byte(row.bad))
		if err == nil || n != 0 || len(c.dormant) != 0 || !strings.Contains(err.Error(), row.why) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func FuzzLoadTemplates(f *testing.F) {
	first := saving(f, start)
	openFrom(f, first, from("192.0.2.1:4000", 1), udp).Message(transport.Incoming{Data: message(7, 0, set(2, addresses+strung)), Received: start})
	f.Add(savedBy(f, first))
	f.Add([]byte(`{"version":1,"sessions":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := saving(t, start)
		n, err := c.LoadTemplates(b)
		if err != nil && n != 0 {
			t.Fatalf("%d, %v", n, err)
		}
		again := savedBy(t, c)
		next := saving(t, start)
		if m, err := next.LoadTemplates(again); err != nil || m != n {
			t.Fatalf("%d, then %d, %v\n%s", n, m, err, again)
		}
		openFrom(t, c, from("192.0.2.1:4000", 1), udp).Message(transport.Incoming{Data: message(7, 0, set(256, flow)), Received: start})
	})
}
