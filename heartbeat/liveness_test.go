package heartbeat

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// script drives a Liveness by hand; times are milliseconds since it began.
type script struct {
	t *testing.T
	l *Liveness
}

func ms(n int) time.Time { return time.Unix(0, 0).Add(time.Duration(n) * time.Millisecond) }

// steady is randomness that never shortens anything.
func steady() float64 { return 0 }

func begin(t *testing.T, cfg LivenessConfig) *script {
	return &script{t, NewLiveness(cfg, ms(0), steady)}
}

// at advances to a moment, as a loop does that wakes when Next is due, and
// expects what was asked for on the way and the state then.
func (s *script) at(now int, state State, want ...Action) {
	s.t.Helper()
	var got []Action
	for {
		when := ms(now)
		if n := s.l.Next(); due(n, when) {
			when = n
		}
		if a := s.l.Advance(when); a != None {
			got = append(got, a)
		} else if !when.Before(ms(now)) {
			break
		}
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("at %d ms: actions %v, want %v", now, got, want)
	}
	if s.l.State() != state {
		s.t.Fatalf("at %d ms: state %v, want %v", now, s.l.State(), state)
	}
}

func TestLiveness_AnsweredStaysAlive(t *testing.T) {
	s := begin(t, LivenessConfig{})
	for i := 1; i <= 5; i++ {
		s.at(1000*i-1, Alive)
		s.at(1000*i, Alive, Probe)
		s.l.Answered(ms(1000*i + 20))
	}
	if rtt := s.l.RTT(); rtt != 20*time.Millisecond {
		t.Errorf("RTT %v", rtt)
	}
}

func TestLiveness_SilentDies(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	s.at(1399, Alive)
	s.at(1400, Suspect, Handshake)
	s.at(2899, Suspect)
	s.at(2900, Dead)
	if s.l.Cause() != Silent || !s.l.Next().IsZero() {
		t.Errorf("cause %v, next %v", s.l.Cause(), s.l.Next())
	}
	// Dead is final.
	s.l.Answered(ms(2950))
	s.l.Heard(ms(2950))
	s.l.SecondOpinion(ms(2950), true)
	s.l.Hint(ms(2950))
	if s.l.Ask(ms(2950)) {
		t.Error("a dead peer is asked")
	}
	s.at(60000, Dead)
}

// A handshake that fails early proves nothing: whoever forges an ICMP message
// may be behind it.
func TestLiveness_FailedHandshakeIsNoVerdict(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	s.at(1400, Suspect, Handshake)
	s.l.SecondOpinion(ms(1410), false)
	s.at(2409, Suspect)
	s.at(2410, Suspect, Handshake)
	s.l.Answered(ms(2500))
	s.at(2999, Alive) // slow as the answer was, half an interval of pause
	s.at(3000, Alive, Probe)
	s.l.SecondOpinion(ms(3010), false)
	s.l.Answered(ms(3020))
	s.at(3900, Alive)
}

// Other authentic records show life and put the verdict off, not for ever.
func TestLiveness_Heard(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	for now := 1300; now < 31000; now += 300 {
		s.l.Heard(ms(now))
		s.at(now, Alive)
	}
	s.at(31000, Dead)
}

// However many hints come: one request at a time, none while one is in flight.
func TestLiveness_HintOnlyAsks(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(300, Alive)
	s.l.Hint(ms(300))
	s.at(300, Alive, Probe)
	for now := 301; now < 320; now++ {
		s.l.Hint(ms(now))
		s.at(now, Alive)
	}
	s.l.Answered(ms(320))
	s.l.Hint(ms(330))
	s.at(499, Alive)
	s.l.Hint(ms(500))
	s.at(500, Alive, Probe)
	s.l.Answered(ms(501))
	asked := 0
	for now := 502; now < 10502; now++ {
		s.l.Hint(ms(now))
		for a := s.l.Advance(ms(now)); a != None; a = s.l.Advance(ms(now)) {
			if a != Probe {
				t.Fatalf("a hint led to %v", a)
			}
			asked++
			s.l.Answered(ms(now))
		}
	}
	if asked > 51 || s.l.State() != Alive {
		t.Errorf("%d requests in 10 s of hints, state %v", asked, s.l.State())
	}
}

func TestLiveness_OwnerAsks(t *testing.T) {
	s := begin(t, LivenessConfig{})
	if !s.l.Ask(ms(10)) || s.l.Ask(ms(11)) || !s.l.Waiting() {
		t.Fatal("want one request in flight")
	}
	s.l.Answered(ms(20))
	s.at(1009, Alive)
	s.at(1010, Alive, Probe) // the interval counts from the last request
}

// An owner that did not run does not blame the peer: first the answers that
// came meanwhile are read.
func TestLiveness_OwnSleepIsForgiven(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	if a := s.l.Advance(ms(60000)); a != Handshake || s.l.State() != Suspect {
		t.Fatalf("after a minute's sleep: %v, state %v", a, s.l.State())
	}
	s.l.Answered(ms(60010))
	s.at(60400, Alive)
}

func TestLiveness_SlowPathIsNotSuspect(t *testing.T) {
	s := begin(t, LivenessConfig{})
	now := 1000
	for range 20 {
		s.at(now, Alive, Probe)
		s.l.Answered(ms(now + 440))
		now += 1000
	}
	s.at(now, Alive, Probe)
	s.at(now+800, Alive)
	s.at(now+900, Suspect, Handshake)
}

func TestLiveness_Configured(t *testing.T) {
	for _, c := range []struct {
		name            string
		cfg             LivenessConfig
		first, deadline int
	}{
		{"default", LivenessConfig{}, 1000, 2900},
		{"slower", LivenessConfig{Interval: 10 * time.Second}, 10000, 11900},
		{"patient", LivenessConfig{DeadAfter: 20 * time.Second}, 1000, 19900},
		{"impossible", LivenessConfig{Interval: 5 * time.Second, DeadAfter: time.Second}, 5000, 5500},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t, c.cfg)
			s.at(c.first-1, Alive)
			if a := s.l.Advance(ms(c.first)); a != Probe {
				t.Fatal(a)
			}
			s.l.dialAt = time.Time{}
			for s.l.State() != Dead {
				s.l.Advance(s.l.Next())
				if s.l.Next().After(ms(c.deadline)) {
					t.Fatalf("state %v at %v", s.l.State(), s.l.Next())
				}
			}
		})
	}
}

// Without heartbeat, handshakes are the probes, and what they cost bounds how
// often.
func TestLiveness_Mute(t *testing.T) {
	s := begin(t, LivenessConfig{Mute: true, Proven: true})
	if s.l.Ask(ms(0)) {
		t.Error("a mute peer is asked")
	}
	s.at(19999, Alive)
	s.at(20000, Alive, Handshake)
	s.l.SecondOpinion(ms(20100), true)
	s.at(40100, Alive, Handshake)
	s.l.SecondOpinion(ms(48100), false)
	s.at(48100, Suspect, Handshake)
	s.at(50099, Suspect)
	s.at(50100, Dead) // 10 s of failing, where a handshake took 0.1 s
}

// Handshakes that take long are waited for.
func TestLiveness_MuteSlowPath(t *testing.T) {
	s := begin(t, LivenessConfig{Mute: true, Proven: true})
	s.at(20000, Alive, Handshake)
	s.l.SecondOpinion(ms(20500), true)
	s.at(40500, Alive, Handshake)
	s.at(58499, Alive)
	s.at(58500, Dead) // 12 * (0.5 s + 4 * 0.25 s)
}

func TestLiveness_MuteHint(t *testing.T) {
	s := begin(t, LivenessConfig{Mute: true, Proven: true})
	s.at(20000, Alive, Handshake)
	s.l.SecondOpinion(ms(20100), true)
	s.at(25000, Alive)
	s.l.Hint(ms(25000))
	s.at(25000, Suspect, Handshake)
	s.l.Hint(ms(25001))
	s.at(29999, Suspect)
	s.at(30000, Dead)
}

// Forged hints cost a handshake, then one a backoff that doubles.
func TestLiveness_MuteForgedHints(t *testing.T) {
	s := begin(t, LivenessConfig{Mute: true, Proven: true, HandshakeEvery: time.Hour})
	var dials []int
	for now := 0; now < 130000; now += 10 {
		s.l.Hint(ms(now))
		if s.l.Advance(ms(now)) == Handshake {
			dials = append(dials, now/1000)
			s.l.SecondOpinion(ms(now), true)
			s.l = s.l.Successor(ms(now))
		}
	}
	if want := []int{1, 3, 7, 15, 31, 63, 123}; !slices.Equal(dials, want) {
		t.Errorf("handshakes at %v s, want %v", dials, want)
	}
}

// A peer that serves one session at a time refuses every second handshake and
// lives.
func TestLiveness_MuteUnproven(t *testing.T) {
	s := begin(t, LivenessConfig{Mute: true})
	s.at(20000, Alive, Handshake)
	for now := 30000; now < 140000; now += 10000 {
		s.l.SecondOpinion(ms(now), false)
		s.at(now, Suspect, Handshake)
	}
	s.at(139999, Suspect)
	s.at(140000, Dead)

	s = begin(t, LivenessConfig{Mute: true})
	s.at(20000, Alive, Handshake)
	s.l.Hint(ms(40000))
	s.at(59999, Suspect)
	s.at(60000, Dead)
}

// What is learnt late: the peer answers nothing.
func TestLiveness_Silence(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	s.l.Silence(ms(1001))
	s.at(21000, Alive)
	s.at(21001, Alive, Handshake)
}

// Whatever happens in whatever order: nothing panics, one request and one
// handshake at a time, Next is never zero before the end, and death is known in
// bounded time when everything falls silent.
func FuzzLiveness(f *testing.F) {
	f.Add([]byte("\x01\x00\x12\x34\x56\x78\x9a"), false)
	f.Add([]byte("2Z\xfe0"), false) // Silence while a handshake is under way
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 254, 253}, true)
	f.Fuzz(func(t *testing.T, events []byte, mute bool) {
		r := rand.New(rand.NewPCG(1, 2))
		now := ms(0)
		l := NewLiveness(LivenessConfig{Mute: mute}, now, r.Float64)
		asking, dialing := false, false
		act := func() {
			for range 10 {
				switch l.Advance(now) {
				case None:
					return
				case Probe:
					if asking {
						t.Fatal("a second request in flight")
					}
					asking = true
				case Handshake:
					if dialing {
						t.Fatal("a second handshake")
					}
					dialing = true
				}
			}
			t.Fatal("Advance does not come to rest")
		}
		for _, e := range events {
			now = now.Add(time.Duration(e>>3) * 60 * time.Millisecond)
			switch e & 7 {
			case 0:
				if asking {
					asking = false
					l.Answered(now)
				}
			case 1:
				l.Heard(now)
			case 2:
				l.Hint(now)
			case 3, 4:
				if dialing {
					dialing = false
					l.SecondOpinion(now, e&7 == 3)
				}
			case 5:
				if l.Ask(now) {
					asking = true
				}
			case 6:
				if e>>3 == 31 {
					l.Silence(now)
					asking = false
				}
			case 7:
				l.Defer(now)
				dialing = false
			}
			act()
			if l.State() != Dead && l.Next().IsZero() {
				t.Fatal("nothing is due any more")
			}
		}
		limit := now.Add(DefaultHandshakeEvery + DefaultUnprovenLimit + time.Second)
		if !mute && !l.cfg.Mute {
			limit = now.Add(DefaultStallAfter + DefaultInterval + time.Second)
		}
		for l.State() != Dead {
			next := l.Next()
			if !next.After(now) {
				t.Fatalf("still due after Advance: %v", next.Sub(now))
			}
			now = next
			act()
			if now.After(limit) {
				t.Fatalf("state %v at the limit", l.State())
			}
		}
	})
}
