package export

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

// A session that dies is replaced; the new one begins with all Templates and
// options records, and nothing queued is lost.
func TestSessionLost_NextIsPrimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestSession(1, dtlsLike, 1400), newTestSession(2, dtlsLike, 1400)
		d := &testDialer{next: []*testSession{a, nil, b}}
		e := start(t, Config{Dialer: d})
		if err := e.FlowKeys(e.tmpl, 3); err != nil {
			t.Fatal(err)
		}
		e.write(1, 500)
		time.Sleep(2 * time.Second)
		a.fail(errRefused)
		e.write(501, 1000)
		time.Sleep(20 * time.Second)
		e.write(1001, 1100)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, a)
		check(t, b)
		atLeastOnce(t, 1100, e.Summary(), a, b)
		if i := slices.Index(b.order, "data"); slices.Index(b.order, "template") != 0 || !slices.Contains(b.order[:i], "options") {
			t.Errorf("second session begins with %v", b.order[:i])
		}
		if keys := b.domains[0].options[0]; keys[flowKeyIndicator] != 3 || keys[templateID] != uint64(e.tmpl.ID) {
			t.Errorf("flow keys %v", keys)
		}
		sum := e.Summary()
		if sum.CollectorsLost != 1 || sum.SessionsOpened != 2 || sum.SessionsResumed != 1 || sum.RecordsDropped != 0 {
			t.Errorf("%+v", sum)
		}
		for i := 1; i < len(d.dials); i++ {
			if gap := d.dials[i].Sub(d.dials[i-1]); gap < time.Second {
				t.Errorf("dialled again after %v", gap)
			}
		}
	})
}

// A collector that answers no probe any more is given up after DeadAfter.
func TestHeartbeat_Unanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestSession(1, dtlsLike, 1400), newTestSession(2, dtlsLike, 1400)
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{a, b}}, Heartbeat: time.Second, DeadAfter: 3 * time.Second})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		if s := e.Summary(); s.HeartbeatsAnswered < 9 || s.HeartbeatsAnswered != s.HeartbeatsSent {
			t.Errorf("%+v", s)
		}
		a.mu.Lock()
		a.mute = true
		a.mu.Unlock()
		begin := time.Now()
		<-a.done
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("given up after %v", d)
		}
		time.Sleep(5 * time.Second)
		e.write(1, 1)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, b)
		if s := e.Summary(); s.CollectorsLost != 1 || len(b.domains[0].records) != 1 || s.HeartbeatsSent != s.HeartbeatsAnswered+1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestHeartbeat_PeerWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		s.noProbe = true
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}, Window: 2000})
		e.write(1, 5000)
		time.Sleep(10 * time.Second)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		if len(s.domains[0].records) != 5000 || s.probes != 1 {
			t.Errorf("%d records, %d probes", len(s.domains[0].records), s.probes)
		}
	})
}

// An error that passes costs nothing; a message that is refused for itself
// costs only its records, and the sequence numbers tell.
func TestSendError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, udpLike, 1400)
		fails := 0
		s.sendErr = func(i int) error {
			switch {
			case i == 10 && fails < 4:
				fails++
				return errRefused
			case i == 20 && fails < 4+sendTries:
				fails++
				return transport.ErrTooLarge
			}
			return nil
		}
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{s}}})
		e.write(1, 5000)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		st := e.Stats()
		d := s.domains[0]
		if st.SendErrors != 4+sendTries || st.RecordsDropped < 50 || st.RecordsDropped > 100 || int(d.lost) != int(st.RecordsDropped) || len(d.records)+int(st.RecordsDropped) != 5000 {
			t.Errorf("%+v, lost %d of %d", st, d.lost, len(d.records))
		}
	})
}

// A session that takes nothing any more is replaced; nothing is lost.
func TestSendError_Lasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newTestSession(1, udpLike, 1400), newTestSession(2, udpLike, 1400)
		a.sendErr = func(i int) error {
			if i >= 10 {
				return errRefused
			}
			return nil
		}
		e := start(t, Config{Dialer: &testDialer{next: []*testSession{a, b}}})
		e.write(1, 5000)
		time.Sleep(20 * time.Second)
		if err := e.close(5 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, a)
		check(t, b)
		atLeastOnce(t, 5000, e.Summary(), a, b)
		if sum := e.Summary(); sum.CollectorsLost != 1 || sum.RecordsDropped != 0 {
			t.Errorf("%+v", sum)
		}
	})
}

func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := start(t, Config{Dialer: &testDialer{}, GiveUp: 10 * time.Second})
		err := <-e.res
		e.res <- err
		if !errors.Is(err, errRefused) {
			t.Errorf("error %v", err)
		}
		e.close(time.Second)
	})
}

// Who gives up says after what time, why, what it costs and what to do.
func TestGiveUp_SaysWhatToDo(t *testing.T) {
	for _, row := range []struct {
		reached bool
		n       int
		text    string
		hint    string
	}{
		{false, 1, "given up after 10s without a session: connection refused\n1 record was not sent", "listen there"},
		{true, 2, "given up after 10s without a session: connection refused\n2 records were not sent", "there was a session before"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &testDialer{}
			s := newTestSession(1, dtlsLike, 1400)
			if row.reached {
				d.next = append(d.next, s)
			}
			e := start(t, Config{Dialer: d, GiveUp: 10 * time.Second})
			time.Sleep(2 * time.Second)
			s.fail(errRefused)
			synctest.Wait()
			e.write(1, row.n)
			err := <-e.res
			e.res <- err
			_ = e.close(time.Second)
			var hinted interface{ Hint() string }
			if err == nil || err.Error() != row.text || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), row.hint) || !strings.Contains(hinted.Hint(), "--spool") {
				t.Errorf("error %q, hint %v", err, hinted)
			}
		})
	}
}
