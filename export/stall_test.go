package export

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

const (
	stallsLine = `level=WARN msg="collector stalls"`
	goesOnLine = `level=INFO msg="collector goes on"`
)

func (s *testSession) confirms(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = !yes
}

// soon waits a few seconds at most.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// stalling is an Exporter whose collector has stopped confirming anything, but
// takes sessions, and that has said so.
type stalling struct {
	*running
	farm   *farm
	stands atomic.Bool // new sessions are not confirmed either
	log    journal
}

func startStalling(t *testing.T, cfg Config) *stalling {
	t.Helper()
	s := &stalling{}
	s.farm = &farm{props: dtlsLike, takes: 10 * time.Millisecond, make: func(_ int, o *testSession) error {
		o.mute = s.stands.Load()
		return nil
	}}
	cfg.Dialer, cfg.MaxDelay, cfg.Log = s.farm, 10*time.Millisecond, slog.New(slog.NewTextHandler(&s.log, nil))
	s.running = start(t, cfg)
	s.write(1, 100)
	time.Sleep(10 * time.Second)
	s.stands.Store(true)
	s.farm.list()[0].confirms(false)
	s.write(101, 200)
	soon(t, "it says so", func() bool { return s.log.count(stallsLine) == 1 })
	if !s.Stats().Stalled {
		t.Error("the counters know of no stall")
	}
	return s
}

// beside is the session that was made for a second opinion, once it waits to be
// confirmed.
func (s *stalling) beside() (o *testSession) {
	s.t.Helper()
	soon(s.t, "a session beside", func() bool {
		all := s.farm.list()
		o = all[len(all)-1]
		return len(all) > 1 && !ended(o) && o.asked() > 0
	})
	return o
}

// A stall is over, and said to be once, with the first session that the
// collector confirms: the one that carries the data, or the one beside it,
// which then replaces it.
func TestStall_GoesOn(t *testing.T) {
	for _, row := range []struct {
		name            string
		end             func(s *stalling)
		rotations, lost uint64
		again           bool // something is sent twice
	}{
		{"the session is confirmed first", func(s *stalling) {
			s.farm.list()[0].confirms(true)
		}, 0, 0, false},
		{"while another is beside it", func(s *stalling) {
			s.beside()
			s.farm.list()[0].confirms(true)
		}, 0, 0, false},
		{"the one beside it is", func(s *stalling) {
			s.beside().confirms(true)
			time.Sleep(time.Second)
			s.farm.list()[0].confirms(true)
		}, 1, 0, false},
		{"the one beside it is, and the first never", func(s *stalling) {
			s.beside().confirms(true)
		}, 1, 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := startStalling(t, Config{})
				row.end(s)
				soon(t, "it goes on", func() bool { return s.log.count(goesOnLine) > 0 })
				if s.Stats().Stalled {
					t.Error("the counters still know of a stall")
				}
				s.stands.Store(false)
				s.write(201, 300)
				time.Sleep(10 * time.Second)
				if err := s.close(10 * time.Second); err != nil {
					t.Error(err)
				}
				sum := s.Summary()
				atLeastOnce(t, 300, sum, s.farm.list()...)
				if sum.Rotations != row.rotations || sum.RotationsByCause.Suspicion != row.rotations || sum.CollectorsLost != row.lost ||
					sum.CollectorsStalled != 1 || sum.RecordsReplayed > 0 != row.again || sum.RecordsUnconfirmed != 0 {
					t.Errorf("%+v", sum)
				}
				if s.log.count(stallsLine) != 1 || s.log.count(goesOnLine) != 1 {
					t.Errorf("the log says:\n%s", &s.log)
				}
				s.farm.checkSpacing(t)
			})
		})
	}
}

// With another collector to turn to nobody waits for the one that stalls, nor
// says that it goes on.
func TestStall_TheOtherTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := &farm{props: dtlsLike, takes: 10 * time.Millisecond}
		s := startStalling(t, Config{Fallback: []transport.Dialer{second}})
		soon(t, "the other one is dialled", func() bool { return len(second.list()) > 0 })
		time.Sleep(time.Second)
		if s.Stats().Stalled {
			t.Error("the counters still know of a stall")
		}
		s.write(201, 300)
		if err := s.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		sum := s.Summary()
		atLeastOnce(t, 300, sum, append(s.farm.list(), second.list()...)...)
		if sum.CollectorsLost != 1 || sum.CollectorsStalled != 1 || sum.RecordsReplayed == 0 {
			t.Errorf("%+v", sum)
		}
		if s.log.count(stallsLine) != 1 || s.log.count(goesOnLine) != 0 {
			t.Errorf("the log says:\n%s", &s.log)
		}
	})
}

// A collector that takes sessions and never confirms anything is not one that
// is not there: log, error and hint say so.
func TestStall_FromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log journal
		f := &farm{props: dtlsLike, takes: 10 * time.Millisecond, make: func(_ int, s *testSession) error {
			s.mute = true
			return nil
		}}
		e := start(t, Config{Dialer: f, GiveUp: 20 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
		e.write(1, 10)
		err := <-e.res
		hinting, ok := errors.AsType[interface {
			error
			Hint() string
		}](err)
		if !errors.Is(err, errStalled) || !ok || !strings.Contains(hinting.Hint(), "an output may take nothing") {
			t.Errorf("%v", err)
		}
		if log.count(`msg="new session given up"`) == 0 || log.count(errSilent.Error()) != 0 || log.count("hint=") == 0 {
			t.Errorf("the log says:\n%s", &log)
		}
		if sum := e.Summary(); sum.RecordsDropped != 10 {
			t.Errorf("%+v", sum)
		}
	})
}
