package interop

import (
	"context"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/endpoint"
	"ipfixsuite/heartbeat"
	"ipfixsuite/test/harness"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// watch is what the owner of a session does with the machine: probes on the
// session, handshakes beside it.
type watch struct {
	session  transport.Session
	dialer   transport.Dialer
	busy     bool // messages all the time
	asked    int
	enough   func() bool   // ends it
	patient  time.Duration // DeadAfter; 0: default
	opinions []bool
}

// run drives the machine until ctx ends or the peer is dead, then says when
// and why it is.
func (w *watch) run(t *testing.T, ctx context.Context) (time.Time, heartbeat.Cause) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := heartbeat.NewLiveness(heartbeat.LivenessConfig{DeadAfter: w.patient}, time.Now(), rand.Float64)
	answered, opinion := make(chan error, 1), make(chan bool, 1)
	wake := time.NewTimer(0)
	message := make([]byte, 900)
	for {
		now := time.Now()
		for a := l.Advance(now); a != heartbeat.None; a = l.Advance(now) {
			switch a {
			case heartbeat.Probe:
				w.asked++
				go func() { answered <- w.session.Probe(ctx) }() // ctx ends it
			case heartbeat.Handshake:
				go func() { // ctx ends it
					s, err := w.dialer.Dial(ctx)
					if err == nil {
						_ = s.Close(ctx)
					}
					opinion <- err == nil
				}()
			}
		}
		if l.State() == heartbeat.Dead {
			return now, l.Cause()
		}
		pause := l.Next().Sub(now)
		if w.busy {
			_, _ = w.session.Send(ctx, []transport.Outgoing{{Data: message}}) // as good as lost
			pause = min(pause, time.Millisecond)
		}
		wake.Reset(pause)
		select {
		case err := <-answered:
			if ctx.Err() != nil {
				return time.Time{}, heartbeat.NoCause
			}
			if err != nil {
				t.Fatalf("probe: %v", err)
			}
			l.Answered(time.Now())
			if w.enough != nil && w.enough() {
				return time.Time{}, heartbeat.NoCause
			}
		case ok := <-opinion:
			w.opinions = append(w.opinions, ok)
			l.SecondOpinion(time.Now(), ok)
		case <-w.session.Done():
			t.Fatalf("session ended: %v", w.session.Err())
		case <-ctx.Done():
			return time.Time{}, heartbeat.NoCause
		case <-wake.C:
		}
	}
}

// dialerTo makes a dialer with the exporter's certificate.
func dialerTo(t *testing.T, pki harness.PKI, addr string) transport.Dialer {
	t.Helper()
	creds, err := credentials.Load(credentials.Config{
		CertFile: pki.Cert("exporter.example"), KeyFile: pki.Key("exporter.example"), CAFile: pki.CA(),
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := transport.ParseEndpoint("dtls+udp://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	d, err := endpoint.Dialer(e, endpoint.Config{Credentials: creds, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// dialTo opens a session that ends with the test.
func dialTo(t *testing.T, d transport.Dialer) transport.Session {
	t.Helper()
	s, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// A collector that stops is known as dead within 3 s, whether it is stopped,
// killed or somebody else's, and whether there is traffic or none; until then
// it is taken for alive. A busy machine takes longer over it: how long the machine
// of package heartbeat takes by itself is held there.
func TestDeadCollectorIsKnown(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	gnutls := func(t *testing.T) (*harness.Process, string) {
		return harness.StartGnuTLS(t, pki, "collector.example")
	}
	ours := func(t *testing.T) (*harness.Process, string) {
		c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + t.TempDir()}, pki.Flags("collector.example")...)...)
		return c.Process, c.Addr
	}
	for _, row := range []struct {
		name   string
		start  func(*testing.T) (*harness.Process, string)
		signal syscall.Signal
		busy   bool
	}{
		{"GnuTLS stopped, idle", gnutls, syscall.SIGSTOP, false},
		{"GnuTLS stopped, busy", gnutls, syscall.SIGSTOP, true},
		{"GnuTLS killed, idle", gnutls, syscall.SIGKILL, false},
		{"collector stopped, busy", ours, syscall.SIGSTOP, true},
		{"collector killed, busy", ours, syscall.SIGKILL, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var took []time.Duration
			for i := range 3 {
				p, addr := row.start(t)
				d := dialerTo(t, pki, addr)
				s := dialTo(t, d)
				alive := 2*time.Second + time.Duration(i)*350*time.Millisecond
				stopped := make(chan time.Time, 1)
				timer := time.AfterFunc(alive, func() {
					stopped <- time.Now()
					_ = p.Cmd.Process.Signal(row.signal)
				})
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				w := watch{session: s, dialer: d, busy: row.busy}
				dead, cause := w.run(t, ctx)
				cancel()
				if timer.Stop() || dead.IsZero() || cause != heartbeat.Silent {
					t.Fatalf("dead %v, cause %v, second opinions %v", dead, cause, w.opinions)
				}
				took = append(took, dead.Sub(<-stopped).Round(time.Millisecond))
				st := s.Stats()
				if st.ProbesAnswered == 0 || w.asked < 2 {
					t.Errorf("stats %+v", st)
				}
				_ = p.Cmd.Process.Kill()
			}
			t.Logf("dead after %v", took)
			if worst := slices.Max(took); worst > limit {
				t.Errorf("detection took %v", worst)
			}
		})
	}
}

// A collector that stands still for a third of the time after which one is dead
// is not given up.
func TestStandstillIsNoDeath(t *testing.T) {
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + t.TempDir()}, pki.Flags("collector.example")...)...)
	d := dialerTo(t, pki, c.Addr)
	s := dialTo(t, d)
	const still = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := watch{session: s, dialer: d, patient: 3 * still}
	w.enough = func() bool { return s.Stats().ProbesAnswered >= 2 }
	w.run(t, ctx)
	if err := c.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := time.AfterFunc(still, func() { _ = c.Cmd.Process.Signal(syscall.SIGCONT) })
	defer resume.Stop()
	w.enough = func() bool { return s.Stats().ProbesAnswered >= 4 }
	if dead, cause := w.run(t, ctx); !dead.IsZero() || ctx.Err() != nil {
		t.Errorf("given up: %v", cause)
	}
	if st := s.Stats(); st.ProbesAnswered < 4 {
		t.Errorf("stats %+v", st)
	}
}

// GnuTLS answers requests padded to the path's size; without an answer the
// session would shrink its messages.
func TestPaddedHeartbeatsToGnuTLS(t *testing.T) {
	pki := harness.NewPKI(t, "collector.example", "exporter.example")
	_, addr := harness.StartGnuTLS(t, pki, "collector.example")
	s := dialTo(t, dialerTo(t, pki, addr))
	before := s.MaxMessage()
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := s.Probe(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if after := s.MaxMessage(); after != before {
		t.Errorf("messages shrank from %d to %d octets", before, after)
	}
	// Later ones need no padding. One that stands still is asked again and again;
	// all answers but the first are dropped then.
	if st := s.Stats(); st.ProbesAnswered != 8 || st.ProbesSent-st.RecordsDropped > 12 {
		t.Errorf("stats %+v", st)
	}
}
