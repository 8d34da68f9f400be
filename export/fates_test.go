package export

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// lossy is a session whose network loses messages that hold data, and whose
// transport tells which.
type lossy struct {
	*testSession
	loses func(n uint64) bool // of the n-th message with data

	fmu    sync.Mutex
	taken  uint64
	data   uint64
	untold []transport.Fate
	silent bool // the transport tells nothing
}

func (l *lossy) Send(ctx context.Context, batch []transport.Outgoing) (int, error) {
	for i, m := range batch {
		gone := false
		l.fmu.Lock()
		if holdsData(m.Data) {
			l.data++
			gone = l.loses != nil && l.loses(l.data)
		}
		l.fmu.Unlock()
		l.mu.Lock()
		l.deaf = gone
		l.mu.Unlock()
		if n, err := l.testSession.Send(ctx, batch[i:i+1]); n == 0 {
			return i, err
		}
		l.fmu.Lock()
		l.taken++
		l.untold = append(l.untold, transport.Fate{First: l.taken, Last: l.taken, Arrived: !gone})
		l.fmu.Unlock()
	}
	return len(batch), nil
}

func (l *lossy) Fates(dst []transport.Fate) []transport.Fate {
	l.fmu.Lock()
	defer l.fmu.Unlock()
	if l.silent {
		return dst
	}
	dst = append(dst, l.untold...)
	l.untold = nil
	return dst
}

func holdsData(msg []byte) bool {
	for set, err := range ipfix.Sets(msg) {
		if err == nil && set.ID >= ipfix.MinDataSetID {
			return true
		}
	}
	return false
}

// inTurn is a Dialer that hands out sessions in order.
type inTurn[S transport.Session] struct {
	mu   sync.Mutex
	next []S
}

func (d *inTurn[S]) Dial(context.Context) (transport.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.next) == 0 {
		return nil, errRefused
	}
	s := d.next[0]
	d.next = d.next[1:]
	return s, nil
}

// What the transport knows to be lost goes out again on the next session,
// whether the one before died or was replaced; what arrived does not.
func TestFates_LostIsSentAgain(t *testing.T) {
	third := func(n uint64) bool { return n%3 == 0 }
	for _, row := range []struct {
		name  string
		props transport.Properties
		dies  bool
	}{
		{"replaced, with probes", dtlsLike, false},
		{"replaced, without", transport.Properties{Secure: true, Streams: 1, Confirms: transport.ConfirmTransport}, false},
		{"dies, with probes", dtlsLike, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &lossy{testSession: newTestSession(1, row.props, 200), loses: third}
				b := &lossy{testSession: newTestSession(2, row.props, 200)}
				cfg := Config{Dialer: &inTurn[*lossy]{next: []*lossy{a, b}}, MaxDelay: 10 * time.Millisecond, StatsInterval: -1}
				if !row.dies {
					cfg.Rotate = 10 * time.Second
				}
				e := start(t, cfg)
				const n = 300
				for i := 1; i <= n; i += 10 {
					e.write(i, i+9)
					time.Sleep(20 * time.Millisecond)
				}
				if err := e.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second) // all is confirmed, or old
				if row.dies {
					a.fail(errors.New("cut"))
				}
				time.Sleep(20 * time.Second)
				if err := e.close(time.Minute); err != nil {
					t.Error(err)
				}
				first, second := numbers(a.domains[0]), numbers(b.domains[0])
				came := map[int]int{}
				for _, i := range append(first, second...) {
					came[i]++
				}
				for i := 1; i <= n; i++ {
					if came[i] == 0 {
						t.Errorf("record %d did not come", i)
					}
				}
				sum := e.Summary()
				if len(first) == n || len(first)+len(second) != n {
					t.Errorf("%d records came on the first session, %d on the second: what had arrived came again, or nothing was lost", len(first), len(second))
				}
				if sum.RecordsReplayed != uint64(len(second)) || sum.RecordsDropped != 0 || sum.RecordsSent != n {
					t.Errorf("%d on the second session: %+v", len(second), sum)
				}
			})
		})
	}
}

// What the peer's host has not acknowledged is kept beyond Retain.
func TestFates_UnacknowledgedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &lossy{testSession: newTestSession(1, tcpLike, 200), silent: true, loses: func(uint64) bool { return true }}
		b := &lossy{testSession: newTestSession(2, tcpLike, 200)}
		e := start(t, Config{Dialer: &inTurn[*lossy]{next: []*lossy{a, b}}, MaxDelay: 10 * time.Millisecond, Retain: time.Second, StatsInterval: -1})
		e.write(1, 100)
		time.Sleep(time.Minute)
		a.fail(errors.New("no acknowledgement"))
		time.Sleep(10 * time.Second)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		if got := numbers(b.domains[0]); len(got) != 100 {
			t.Errorf("%d of 100 records came on the second session", len(got))
		}
	})
}

// At the end there is no next session: what the last one lost goes out again on
// itself, and what is not known to have arrived as well.
func TestFates_LastSession(t *testing.T) {
	plain := transport.Properties{Streams: 1, Confirms: transport.ConfirmTransport}
	for _, row := range []struct {
		name  string
		props transport.Properties
		loses func(n uint64) bool
		fails bool
	}{
		{"a third is lost", plain, func(n uint64) bool { return n%3 == 0 }, false},
		{"under DTLS", dtlsLike, func(n uint64) bool { return n%3 == 0 }, false},
		{"the last ones are lost", plain, func(n uint64) bool { return n > 25 && n < 40 }, false},
		{"nothing comes through", plain, func(n uint64) bool { return true }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &lossy{testSession: newTestSession(1, row.props, 200), loses: row.loses}
				e := start(t, Config{Dialer: &inTurn[*lossy]{next: []*lossy{a}}, MaxDelay: 10 * time.Millisecond, StatsInterval: -1})
				const n = 300
				for i := 1; i <= n; i += 10 {
					e.write(i, i+9)
					time.Sleep(20 * time.Millisecond)
				}
				err := e.close(time.Minute)
				came, sum := map[int]int{}, e.Summary()
				for _, i := range numbers(a.domains[0]) {
					came[i]++
				}
				if row.fails {
					if err == nil || sum.RecordsUnconfirmed != n || len(came) != 0 {
						t.Errorf("%v, %+v", err, sum)
					}
					return
				}
				if err != nil {
					t.Error(err)
				}
				for i := 1; i <= n; i++ {
					if came[i] != 1 {
						t.Errorf("record %d came %d times", i, came[i])
					}
				}
				if sum.RecordsReplayed == 0 || sum.RecordsUnconfirmed != 0 || sum.RecordsSent != n || sum.RecordsDropped != 0 {
					t.Errorf("%+v", sum)
				}
			})
		})
	}
}

// However little is kept of what may have arrived: what is known to be lost is
// kept beside it.
func TestFates_LittleIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plain := transport.Properties{Streams: 1, Confirms: transport.ConfirmTransport}
		a := &lossy{testSession: newTestSession(1, plain, 200), loses: func(n uint64) bool { return n < 300 && n%20 == 0 }}
		e := start(t, Config{Dialer: &inTurn[*lossy]{next: []*lossy{a}}, MaxDelay: 10 * time.Millisecond, StatsInterval: -1, RetainBytes: 20 << 10})
		const n = 3000
		for i := 1; i <= n; i += 10 {
			e.write(i, i+9)
			time.Sleep(20 * time.Millisecond)
		}
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		came := map[int]int{}
		for _, i := range numbers(a.domains[0]) {
			came[i]++
		}
		for i := 1; i <= n; i++ {
			if came[i] != 1 {
				t.Errorf("record %d came %d times", i, came[i])
			}
		}
		if sum := e.Summary(); sum.RecordsReplayed == 0 || sum.RecordsUnconfirmed != 0 || sum.RecordsSent != n {
			t.Errorf("%+v", sum)
		}
	})
}

// A transport that says nothing of its last messages gets them once more, and
// the time it may take for that is bounded.
func TestFates_LastSessionIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &lossy{testSession: newTestSession(1, transport.Properties{Streams: 1, Confirms: transport.ConfirmTransport}, 200), silent: true}
		e := start(t, Config{Dialer: &inTurn[*lossy]{next: []*lossy{a}}, MaxDelay: 10 * time.Millisecond, StatsInterval: -1})
		e.write(1, 100)
		if err := e.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := e.close(time.Minute); err == nil || e.Summary().RecordsUnconfirmed != 100 {
			t.Errorf("%v, %+v", err, e.Summary())
		}
		if d := time.Since(began); d > (maxGuesses+2)*recoverTime {
			t.Errorf("took %v", d)
		}
	})
}
