package export

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/rotation"
	"ipfixsuite/transport"
)

// Where no probe can confirm what was sent, the last Retain of it outlives the
// session that carried it: a collector that is killed around a rotation has
// taken and perhaps not written it.
func TestKept_OutlivesItsSession(t *testing.T) {
	for _, row := range []struct {
		name  string
		after time.Duration // the new session's death
		again bool
	}{
		{"dies within Retain", 2 * time.Second, true},
		{"dies first", 300 * time.Millisecond, true},
		{"dies later", 10 * time.Second, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all []*lossy
				for i := range uint64(3) {
					all = append(all, &lossy{testSession: newTestSession(i+1, tcpLike, 200)})
				}
				e := start(t, Config{Dialer: &inTurn[*lossy]{next: all}, MaxDelay: 10 * time.Millisecond, Retain: 3 * time.Second, StatsInterval: -1})
				time.Sleep(2 * time.Second) // the next session does not come sooner
				e.write(1, 100)
				time.Sleep(100 * time.Millisecond)
				e.Rotate(rotation.Period)
				time.Sleep(100 * time.Millisecond)
				e.write(101, 150)
				time.Sleep(row.after)
				all[1].fail(errors.New("killed"))
				time.Sleep(10 * time.Second)
				if err := e.close(time.Minute); err != nil {
					t.Error(err)
				}
				want := 0
				if row.again {
					want = 150
				}
				sum := e.Summary()
				if got := numbers(all[2].domains[0]); len(got) != want || sum.RecordsReplayed != uint64(want) || sum.RecordsSent != 150 {
					t.Errorf("%d records came again, want %d: %+v", len(got), want, sum)
				}
			})
		})
	}
}

// Where no probe can confirm what was sent, what was acknowledged within Retain
// of something that never is may have been taken by a process that died: its
// age lets none of it go, however late the death is noticed.
func TestKept_AgeProvesNothingBesideSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &lossy{testSession: newTestSession(1, tcpLike, 200)}
		b := &lossy{testSession: newTestSession(2, tcpLike, 200)}
		e := start(t, Config{Dialer: &inTurn[*lossy]{next: []*lossy{a, b}}, MaxDelay: 10 * time.Millisecond, Retain: 3 * time.Second, StatsInterval: -1})
		e.write(1, 50) // old when the process dies
		time.Sleep(5 * time.Second)
		e.write(51, 100)
		time.Sleep(time.Second)
		a.fmu.Lock()
		a.silent = true
		a.fmu.Unlock()
		e.write(101, 150)
		time.Sleep(20 * time.Second)
		a.fail(errors.New("not answered"))
		time.Sleep(10 * time.Second)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		if got := numbers(b.domains[0]); len(got) != 100 || got[0] != 51 {
			t.Errorf("%d records came again: %v", len(got), got)
		}
	})
}

// failing is a session whose closing tells that the collector's end of it was
// no more.
type failing struct {
	*lossy
	takes time.Duration
}

func (f *failing) Close(ctx context.Context) error {
	select {
	case <-time.After(f.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	_ = f.lossy.Close(ctx)
	return errors.New("aborted")
}

// A session that was replaced in order and turns out, when it is closed, to have
// died at the collector: what it had carried within Retain is sent again, though
// the one in its place is well.
func TestKept_DeathIsSeenAtTheClosing(t *testing.T) {
	for _, row := range []struct {
		name   string
		takes  time.Duration
		retain time.Duration
		want   int
	}{
		{"at once", 10 * time.Millisecond, 3 * time.Second, 100},
		{"later than Retain", 1500 * time.Millisecond, 1200 * time.Millisecond, 0},
		{"nobody says anything", time.Minute, 3 * time.Second, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var next []transport.Session
				for i := range uint64(2) {
					next = append(next, &failing{&lossy{testSession: newTestSession(i+1, tcpLike, 200)}, row.takes})
				}
				e := start(t, Config{Dialer: &inTurn[transport.Session]{next: next}, MaxDelay: 10 * time.Millisecond, Retain: row.retain, StatsInterval: -1})
				time.Sleep(2 * time.Second)
				e.write(1, 100)
				time.Sleep(100 * time.Millisecond)
				e.Rotate(rotation.Demand)
				time.Sleep(10 * time.Second)
				if err := e.close(time.Minute); err != nil {
					t.Error(err)
				}
				sum := e.Summary()
				if got := numbers(next[1].(*failing).domains[0]); len(got) != row.want || sum.RecordsReplayed != uint64(row.want) || sum.RecordsSent != 100 ||
					sum.Rotations != 1 || (sum.CollectorsLost == 1) != (row.want > 0) {
					t.Errorf("%d records came again, want %d: %+v", len(got), row.want, sum)
				}
			})
		})
	}
}

// Without a next session what the last one carried within Retain is told as not
// confirmed.
func TestKept_DeathIsSeenAtTheLastClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &failing{&lossy{testSession: newTestSession(1, tcpLike, 200)}, 10 * time.Millisecond}
		e := start(t, Config{Dialer: &inTurn[transport.Session]{next: []transport.Session{s}}, MaxDelay: 10 * time.Millisecond, Retain: 3 * time.Second, StatsInterval: -1})
		e.write(1, 50)
		time.Sleep(5 * time.Second)
		e.write(51, 150)
		if err := e.close(time.Minute); err == nil || !strings.Contains(err.Error(), "100 records were sent, but not confirmed") {
			t.Errorf("%v", err)
		}
		if sum := e.Summary(); sum.RecordsUnconfirmed != 100 || sum.RecordsSent != 150 {
			t.Errorf("%+v", sum)
		}
	})
}

// lateDialer takes its time for the last session, whatever is said meanwhile.
type lateDialer struct {
	inTurn[transport.Session]
	takes time.Duration
}

func (d *lateDialer) Dial(ctx context.Context) (transport.Session, error) {
	s, err := d.inTurn.Dial(ctx)
	if d.mu.Lock(); err == nil && len(d.next) == 0 {
		time.Sleep(d.takes)
	}
	d.mu.Unlock()
	return s, err
}

// A session that nobody wants any more when it is there at last has carried
// nothing: however it ends, nothing is sent again for it.
func TestKept_TheEndOfOneThatCameTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &lossy{testSession: newTestSession(1, tcpLike, 200)}, &lossy{testSession: newTestSession(2, tcpLike, 200)}
		late := &failing{&lossy{testSession: newTestSession(3, tcpLike, 200)}, 10 * time.Millisecond}
		d := &lateDialer{inTurn[transport.Session]{next: []transport.Session{a, b, late}}, 15 * time.Second}
		e := start(t, Config{Dialer: d, MaxDelay: 10 * time.Millisecond, Retain: time.Minute, StatsInterval: -1})
		e.write(1, 100)
		time.Sleep(2 * time.Second)
		e.Rotate(rotation.Demand)
		time.Sleep(5 * time.Second)
		e.Rotate(rotation.Demand)
		time.Sleep(20 * time.Second)
		if !ended(late) {
			t.Error("the late one was not closed")
		}
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		if sum := e.Summary(); sum.RecordsReplayed != 0 || sum.CollectorsLost != 0 || sum.Rotations != 1 {
			t.Errorf("%+v", sum)
		}
	})
}
