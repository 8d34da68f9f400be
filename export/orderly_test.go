package export

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

// A collector that ends the session in order is not a lost one: what it had
// confirmed stays so, also by an answer right before the end; only the rest is
// sent again, on a session that is dialled at once.
func TestCollectorClosed_InOrder(t *testing.T) {
	for _, row := range []struct {
		name     string
		lastWord bool
		again    int
	}{{"after an answer", true, 0}, {"without one", false, 100}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				f := &farm{props: dtlsLike}
				e := start(t, Config{Dialer: f, MaxDelay: 10 * time.Millisecond, Heartbeat: 10 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
				e.write(1, 500)
				time.Sleep(25 * time.Second) // between two probes
				first := f.list()[0]
				first.mu.Lock()
				first.mute, first.lastWord = true, row.lastWord
				asked := first.probes
				first.mu.Unlock()
				e.write(501, 600)
				time.Sleep(100 * time.Millisecond)
				for asked == first.asked() {
					time.Sleep(10 * time.Millisecond)
				}
				closed := time.Now()
				first.fail(transport.ErrPeerClosed)
				time.Sleep(time.Second)
				if d := f.dialled(); len(d) < 2 || d[len(d)-1].Sub(closed) > 100*time.Millisecond {
					t.Errorf("dialled at %v, closed at %v", d, closed)
				}
				e.write(601, 700)
				if err := e.close(10 * time.Second); err != nil {
					t.Error(err)
				}
				var got []int
				for _, s := range f.list() {
					check(t, s)
					got = append(got, numbers(s.domains[0])...)
				}
				if len(got) != 700+row.again || !slices.Equal(slices.Compact(slices.Sorted(slices.Values(got))), upTo(1, 700)) {
					t.Errorf("%d records came, want 700 and %d of them again", len(got), row.again)
				}
				sum := e.Summary()
				if sum.CollectorsLost != 0 || sum.CollectorsClosed != 1 || sum.RecordsReplayed != uint64(row.again) || sum.RecordsSent != 700 {
					t.Errorf("%+v", sum)
				}
				if !strings.Contains(log.String(), `level=INFO msg="collector closed the session"`) || strings.Contains(log.String(), "level=WARN") {
					t.Errorf("the log says:\n%s", &log)
				}
			})
		})
	}
}

// asked is how many probes have begun.
func (s *testSession) asked() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

// A collector that takes sessions and ends each in order is not dialled
// without end.
func TestCollectorClosed_AgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike, make: func(_ int, s *testSession) error {
			time.AfterFunc(10*time.Millisecond, func() { s.fail(transport.ErrPeerClosed) })
			return nil
		}}
		e := start(t, Config{Dialer: f})
		time.Sleep(time.Minute)
		f.checkSpacing(t)
		if n := len(f.dialled()); n > 61 {
			t.Errorf("%d sessions in a minute", n)
		}
		if sum := e.Summary(); sum.CollectorsLost != 0 || sum.CollectorsClosed < sum.SessionsOpened-1 {
			t.Errorf("%+v", sum)
		}
		_ = e.close(time.Second)
	})
}

// Both sessions end when the collector does while one replaces the other;
// what the old one has confirmed is not sent again.
func TestCollectorClosed_WhileReplacing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike}
		e := start(t, Config{Dialer: f, MaxDelay: 10 * time.Millisecond, Heartbeat: 10 * time.Second})
		time.Sleep(15 * time.Second)
		old := f.list()[0]
		old.mu.Lock()
		old.mute, old.lastWord = true, true
		old.mu.Unlock()
		e.write(1, 100)
		time.Sleep(100 * time.Millisecond)
		e.Rotate(rotation.Demand)
		time.Sleep(time.Second) // the old one waits for its answer
		if n := len(f.list()); n != 2 || ended(old) {
			t.Fatalf("%d sessions", n)
		}
		for _, s := range f.list() {
			s.fail(transport.ErrPeerClosed)
		}
		time.Sleep(5 * time.Second)
		if err := e.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		atLeastOnce(t, 100, e.Summary(), f.list()...)
		if sum := e.Summary(); sum.CollectorsLost != 0 || sum.CollectorsClosed != 2 || sum.RecordsReplayed != 0 {
			t.Errorf("%+v", sum)
		}
	})
}
