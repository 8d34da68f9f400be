package heartbeat

import (
	"testing"
	"time"
)

func TestLiveness_StalledPeer(t *testing.T) {
	s := begin(t, LivenessConfig{StallAfter: 10 * time.Second})
	s.at(1000, Alive, Probe)
	s.at(1400, Suspect, Handshake)
	s.l.SecondOpinion(ms(1500), true)
	s.at(2500, Suspect, Handshake) // although the window ends at 2900
	s.l.SecondOpinion(ms(2600), true)
	s.at(4600, Suspect, Handshake)
	s.l.SecondOpinion(ms(4700), true)
	s.at(8700, Suspect, Handshake)
	s.l.SecondOpinion(ms(8800), true)
	s.at(10999, Suspect)
	s.at(11000, Dead)
	if s.l.Cause() != Stalled {
		t.Errorf("cause %v", s.l.Cause())
	}
}

func TestLiveness_StalledPeerRecovers(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	s.at(1400, Suspect, Handshake)
	s.l.SecondOpinion(ms(1500), true)
	s.at(2500, Suspect, Handshake)
	s.l.SecondOpinion(ms(2600), true)
	s.l.Answered(ms(4000))
	s.at(4499, Alive)
	s.at(4500, Alive, Probe)
}

// Stalling is what a silent peer is whose process lives, from the time that it
// would be dead until it answers.
func TestLiveness_Stalling(t *testing.T) {
	s := begin(t, LivenessConfig{})
	is := func(now int, want bool) {
		t.Helper()
		s.l.Advance(ms(now))
		if s.l.Stalling() != want {
			t.Errorf("at %d ms: stalling %v", now, !want)
		}
	}
	s.at(1000, Alive, Probe)
	s.at(1400, Suspect, Handshake)
	s.l.SecondOpinion(ms(1500), true)
	s.at(2500, Suspect, Handshake)
	is(2899, false)
	if next := s.l.Next(); !next.Equal(ms(2900)) {
		t.Errorf("next %v, want 2.9 s", next.Sub(ms(0)))
	}
	is(2900, true)
	// The handshake cannot begin while another session is built.
	s.l.Defer(ms(2900))
	s.at(3899, Suspect)
	s.at(3900, Suspect, Handshake)
	s.l.SecondOpinion(ms(4000), true)
	is(5000, true)
	s.l.Answered(ms(5100))
	is(5100, false)
	s.at(5599, Alive)
	s.at(5600, Alive, Probe)
	s.at(6550, Suspect, Handshake) // answers take long: more patience
	is(6550, false)
}

// A handshake that never begins is no verdict on a peer that stalls.
func TestLiveness_DeferredHandshakeIsNoVerdict(t *testing.T) {
	s := begin(t, LivenessConfig{})
	s.at(1000, Alive, Probe)
	s.at(1400, Suspect, Handshake)
	s.l.SecondOpinion(ms(1500), true)
	for now := 2500; now <= 30500; now += 1000 {
		s.at(now, Suspect, Handshake)
		s.l.Defer(ms(now))
	}
	s.at(31000, Dead)
	if s.l.Cause() != Stalled {
		t.Errorf("cause %v", s.l.Cause())
	}
}

// A stalled peer that then dies is found by the handshake that confirms the stall.
func TestLiveness_StalledPeerDies(t *testing.T) {
	for name, report := range map[string]bool{"handshake fails": true, "handshake hangs": false} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, LivenessConfig{})
			s.at(1000, Alive, Probe)
			s.at(1400, Suspect, Handshake)
			s.l.SecondOpinion(ms(1500), true)
			s.at(2500, Suspect, Handshake)
			if report {
				s.l.SecondOpinion(ms(2600), false)
				s.at(2600, Dead)
			} else {
				s.at(4399, Suspect)
				s.at(4400, Dead)
			}
			if s.l.Cause() != Silent {
				t.Errorf("cause %v", s.l.Cause())
			}
		})
	}
}

// A peer that gives signs of life, but not the answer, is neither suspected nor
// Silent; it is Stalled when that lasts.
func TestLiveness_HeardButUnanswered(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	l := NewLiveness(LivenessConfig{StallAfter: 20 * time.Second}, begin, func() float64 { return 0 })
	now, dead := begin, time.Time{}
	asked := time.Time{}
	for ; now.Sub(begin) < time.Minute && dead.IsZero(); now = now.Add(100 * time.Millisecond) {
		for a := l.Advance(now); a != None; a = l.Advance(now) {
			if a == Handshake {
				t.Fatalf("a handshake after %v", now.Sub(begin))
			}
			asked = now
		}
		if l.State() == Suspect {
			t.Fatalf("suspected after %v", now.Sub(begin))
		}
		if l.State() == Dead {
			dead = now
		} else if !asked.IsZero() && l.Stalling() != (now.Sub(asked) >= l.cfg.window()) {
			t.Fatalf("%v after it was asked: stalling %v", now.Sub(asked), l.Stalling())
		}
		l.Heard(now)
		if !l.Next().IsZero() && l.Next().Before(now) {
			t.Fatalf("next at %v, now is %v", l.Next(), now)
		}
	}
	if l.Cause() != Stalled || dead.Sub(asked) != 20*time.Second {
		t.Errorf("dead after %v, cause %v", dead.Sub(asked), l.Cause())
	}
}

// Where a part of what was asked for is answered the peer is no stalled one, nor
// a suspect; when nothing is heard of it any more it is as dead as any.
func TestLiveness_Partly(t *testing.T) {
	s := begin(t, LivenessConfig{StallAfter: 10 * time.Second})
	window, stall := s.l.Limits()
	if window <= 0 || stall != 10*time.Second {
		t.Errorf("limits of %v and %v", window, stall)
	}
	now := 1000
	s.at(now, Alive, Probe)
	asked := ms(now)
	for range 40 { // four times StallAfter
		for !s.l.Overdue(ms(now)) {
			if now += 100; now > 300_000 {
				t.Fatal("never overdue")
			}
			s.l.Heard(ms(now))
			for s.l.Advance(ms(now)) == Probe {
				asked = ms(now)
			}
			if s.l.State() != Alive || s.l.Stalling() && ms(now).Sub(asked) < window {
				t.Fatalf("at %d ms: %v, stalling %v", now, s.l.State(), s.l.Stalling())
			}
		}
		if ms(now).Sub(asked) < window {
			t.Fatalf("overdue after %v", ms(now).Sub(asked))
		}
		s.l.Partly(ms(now))
		if s.l.Overdue(ms(now)) || s.l.Stalling() || s.l.Waiting() || s.l.State() != Alive {
			t.Fatalf("at %d ms: %v", now, s.l.State())
		}
	}
	if now < 40_000 {
		t.Errorf("over at %d ms already", now)
	}
	for last := now; s.l.State() != Dead; now += 100 {
		s.l.Advance(ms(now))
		if now > last+10_000 || s.l.Overdue(ms(now)) {
			t.Fatalf("at %d ms a peer of which nothing is heard is %v", now, s.l.State())
		}
	}
	if s.l.Cause() != Silent {
		t.Errorf("dead of %v", s.l.Cause())
	}
	s.l.Partly(ms(now))
	if s.l.State() != Dead {
		t.Error("dead, and alive again")
	}
}
