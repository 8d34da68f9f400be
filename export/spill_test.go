package export

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// refusals is how often a dialer fails before its first session.
func refusals(n int, then ...*testSession) *testDialer {
	return &testDialer{next: append(make([]*testSession, n), then...)}
}

func emptySpool(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, "spool-*")); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

// A collector that is not there yet costs nothing and holds nobody.
func TestSpool_CollectorComesLater(t *testing.T) {
	for _, props := range []transport.Properties{dtlsLike, udpLike, tcpLike} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			s := newTestSession(1, props, 1400)
			e := start(t, Config{Dialer: refusals(5, s), QueueBytes: 8 * 1180, SpoolDir: dir})
			began := time.Now()
			e.write(1, 20_000)
			if d := time.Since(began); d > 3*time.Second {
				t.Errorf("writing took %v", d)
			}
			time.Sleep(time.Minute)
			e.write(20_001, 20_100)
			if err := e.close(20 * time.Second); err != nil {
				t.Error(err)
			}
			sum := e.Summary()
			atLeastOnce(t, 20_100, sum, s)
			if sum.RecordsSpooled < 19_000 || sum.RecordsExported != 20_100 || sum.RecordsDropped != 0 || s.domains[0].lost != 0 {
				t.Errorf("%+v", sum)
			}
			emptySpool(t, dir)
		})
	}
}

// What the spool holds survives the exporter, and another that numbers its
// Templates otherwise.
func TestSpool_NextExporterDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		e := start(t, Config{Dialer: &testDialer{}, SpoolDir: dir})
		e.write(1, 3000)
		time.Sleep(3 * time.Second)
		killed := t.TempDir() // what a kill -9 leaves now
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		e.write(3001, 3010)
		if err := e.close(5 * time.Second); err != nil {
			t.Errorf("all of it is safe, yet: %v", err)
		}
		if sum := e.Summary(); sum.RecordsSpooled != 3010 || sum.RecordsDropped != 0 || sum.RecordsSent != 0 {
			t.Errorf("%+v", sum)
		}
		for want, dir := range map[int]string{3010: dir, 3000: killed} {
			s := newTestSession(1, dtlsLike, 600) // smaller messages, too
			cfg := Config{Dialer: refusals(0, s), SpoolDir: dir}
			e, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Define(0, []ipfix.FieldSpec{{ID: ie.ID{Num: 4}, Length: 1}}); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- e.Run(t.Context()) }()
			time.Sleep(10 * time.Second)
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			<-done
			sum := e.Summary()
			atLeastOnce(t, want, sum, s)
			if sum.RecordsExported != uint64(want) || sum.RecordsSpooled != 0 {
				t.Errorf("%+v", sum)
			}
			emptySpool(t, dir)
		}
	})
}

// Records of the spool are delivered when they are confirmed, not before.
func TestSpool_SessionLostBeforeItConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := newTestSession(1, dtlsLike, 1400), newTestSession(2, dtlsLike, 1400)
		e := start(t, Config{Dialer: refusals(3, a, b), SpoolDir: dir, SpoolRate: 1000})
		e.write(1, 4000)
		for len(numbers(a.domain(0))) < 1000 {
			time.Sleep(10 * time.Millisecond)
		}
		a.mu.Lock()
		a.mute = true
		a.mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		a.fail(transport.ErrPeerClosed)
		time.Sleep(20 * time.Second)
		if err := e.close(20 * time.Second); err != nil {
			t.Error(err)
		}
		sum := e.Summary()
		atLeastOnce(t, 4000, sum, a, b)
		if sum.RecordsReplayed == 0 {
			t.Errorf("nothing was in flight: %+v", sum)
		}
		emptySpool(t, dir)
	})
}

func (s *testSession) domain(id uint32) *testDomain {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[id]
	if d == nil {
		return nil
	}
	c := *d
	c.records = slices.Clone(d.records)
	return &c
}

// What comes back of the spool comes at a limited rate; what sources write
// meanwhile does not wait for it.
func TestSpool_LiveFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		e := start(t, Config{Dialer: refusals(3, s), SpoolDir: t.TempDir(), SpoolRate: 500, MaxDelay: 50 * time.Millisecond})
		e.write(1, 5000)
		for s.domain(0) == nil {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		before := len(numbers(s.domain(0)))
		if before < 900 || before > 1300 {
			t.Errorf("%d records in two seconds, want 1000", before)
		}
		e.write(5001, 5001)
		time.Sleep(200 * time.Millisecond)
		if got := numbers(s.domain(0)); !slices.Contains(got, 5001) || len(got) > before+250 {
			t.Errorf("%d records, the live one not among them", len(got))
		}
		if err := e.close(30 * time.Second); err != nil {
			t.Error(err)
		}
		atLeastOnce(t, 5001, e.Summary(), s)
	})
}

// What the limit costs is counted, told in the statistics and shows in the
// sequence numbers.
func TestSpool_LimitIsTold_RFC7011_4_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, dtlsLike, 1400)
		e := start(t, Config{
			Dialer: refusals(5, s), SpoolDir: t.TempDir(), QueueBytes: 8 * 1180, SpoolRate: -1,
			Spool: spool.Config{MaxBytes: 512 << 10, SegmentBytes: 256 << 10},
		})
		e.write(1, 60_000) // 16 octets each
		time.Sleep(time.Minute)
		if err := e.close(20 * time.Second); err != nil {
			t.Error(err)
		}
		check(t, s)
		sum := e.Summary()
		if sum.RecordsExported != 60_000 || sum.RecordsSent+sum.RecordsDropped != 60_000 || sum.RecordsDropped < 20_000 {
			t.Errorf("%+v", sum)
		}
		d := s.domains[0]
		got := numbers(d)
		if uint64(len(got)) != sum.RecordsSent || !slices.Contains(got, 60_000) {
			t.Errorf("%d records came", len(got))
		}
		if uint64(d.lost) != sum.RecordsDropped {
			t.Errorf("sequence numbers tell of %d lost records, want %d", d.lost, sum.RecordsDropped)
		}
		last := d.options[len(d.options)-1]
		for _, o := range d.options {
			if _, ok := o[notSentFlowTotalCount]; ok {
				last = o
			}
		}
		if last[notSentFlowTotalCount] != sum.RecordsDropped || last[notSentPacketTotalCount] == 0 {
			t.Errorf("statistics: %v", last)
		}
	})
}

// A source that can wait does so while there is a session; one that cannot
// has the spool.
func TestSpool_SlowCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSession(1, tcpLike, 1400)
		e := start(t, Config{Dialer: refusals(0, s), SpoolDir: t.TempDir(), QueueBytes: 8 * 1180, MaxRate: 2000})
		time.Sleep(time.Second)
		e.write(1, 4000)
		if n := e.Summary().RecordsSpooled; n > 0 {
			t.Errorf("%d records spooled, Write can wait", n)
		}
		for i := 4001; i <= 8000; i++ {
			if !e.Offer(e.tmpl, flowRecord(i)) {
				t.Fatal("Offer refused")
			}
		}
		if n := e.Summary().RecordsSpooled; n < 2000 {
			t.Errorf("%d records spooled", n)
		}
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		atLeastOnce(t, 8000, e.Summary(), s)
	})
}

func TestSpool_DirInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := spool.Open(dir, spool.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := New(Config{Dialer: &testDialer{}, SpoolDir: dir}); err == nil {
		t.Error("two exporters of one spool")
	}
}

// A source that has nothing may end before Run has come to its first line:
// what waits in the spool is delivered all the same.
func TestSpool_CloseBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		e := start(t, Config{Dialer: &testDialer{}, SpoolDir: dir})
		e.write(1, 100)
		time.Sleep(3 * time.Second)
		if err := e.close(time.Second); err != nil {
			t.Error(err)
		}
		s := newTestSession(1, dtlsLike, 1400)
		next, err := New(Config{Dialer: refusals(0, s), SpoolDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			time.Sleep(time.Second)
			done <- next.Run(context.Background())
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := next.Close(ctx); err != nil {
			t.Error(err)
		}
		<-done
		atLeastOnce(t, 100, next.Summary(), s)
		emptySpool(t, dir)
	})
}

// A disk that is full is tried again once a second while nobody is there to
// send to, and no more than that.
func TestSpool_RefusesForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "spool")
		e := start(t, Config{Dialer: &testDialer{}, SpoolDir: dir})
		if err := os.RemoveAll(dir); err != nil { // as good as full
			t.Fatal(err)
		}
		e.write(1, 2000)
		time.Sleep(30 * time.Second)
		if st := e.Stats(); st.Spool.WriteErrors < 20 || st.Spool.WriteErrors > 40 || st.RecordsSpooled != 0 {
			t.Errorf("%+v", st.Spool)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if st := e.Stats(); st.RecordsSpooled != 2000 || st.RecordsDropped != 0 {
			t.Errorf("%+v", st)
		}
		if err := e.close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// When the collector is known to be dead, what it did not confirm is on disk at
// once, and what comes then as soon as its message is full or old.
func TestSpool_DeathIsSpooledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := newTestSession(1, dtlsLike, 1400)
		e := start(t, Config{Dialer: refusals(0, s), SpoolDir: dir, MaxDelay: 100 * time.Millisecond})
		time.Sleep(10 * time.Second)
		s.die()
		died := time.Now()
		e.write(1, 500)
		time.Sleep(time.Until(died.Add(3 * time.Second)))
		e.write(501, 600)
		time.Sleep(200 * time.Millisecond)
		killed := t.TempDir() // what a kill -9 leaves now
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		_ = e.close(time.Second)
		next := newTestSession(2, dtlsLike, 1400)
		e = start(t, Config{Dialer: refusals(0, next), SpoolDir: killed})
		time.Sleep(5 * time.Second)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		check(t, next)
		if got := slices.Sorted(slices.Values(numbers(next.domains[0]))); !slices.Equal(got, upTo(1, 600)) {
			t.Errorf("%d of 600 records survived", len(got))
		}
	})
}

// What came out of the spool is not let go of for want of room before it is
// confirmed.
func TestSpool_UnconfirmedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := newTestSession(1, dtlsLike, 1400), newTestSession(2, dtlsLike, 1400)
		e := start(t, Config{
			Dialer: refusals(4, a, b), SpoolDir: dir, SpoolRate: -1, Window: -1, RetainBytes: 64 << 10,
			Heartbeat: 30 * time.Second, DeadAfter: time.Minute,
		})
		e.write(1, 30_000)
		for alive := true; alive; time.Sleep(time.Millisecond) {
			a.mu.Lock()
			alive = a.answered == 0
			a.mu.Unlock()
		}
		a.die()
		time.Sleep(10 * time.Second)
		a.fail(errRefused)
		time.Sleep(10 * time.Second)
		if err := e.close(time.Minute); err != nil {
			t.Error(err)
		}
		atLeastOnce(t, 30_000, e.Summary(), a, b)
		if st := e.Stats(); st.RecordsReplayed == 0 || st.RecordsUnkept != 0 {
			t.Errorf("%d sent again, %d were not kept", st.RecordsReplayed, st.RecordsUnkept)
		}
	})
}
