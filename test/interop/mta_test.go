package interop

import (
	"crypto/tls"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// The exporter with 300 Observation Domains and a session a second, to a
// collector that shares no code with it and holds it to the draft: each domain
// has a channel of its own in one TLS session, with Templates and Sequence
// Numbers of its own, and no record is missing.
func TestMTA_DomainsOnChannels(t *testing.T) {
	t.Parallel()
	const domains = 300
	pki := harness.NewPKI(t, "collector", "exporter")
	for _, v := range mtaVersions {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			var carried, resumed atomic.Int32
			to, ended := mtaServer(t, mtaTLS(t, pki, "collector", v.tls), mtaJudge{
				began: func(again bool) {
					if again {
						resumed.Add(1)
					}
				},
				carries: func(channels int) {
					if channels == domains {
						carried.Add(1)
					}
				},
			})
			e := harness.StartExporter(t, append([]string{"--source", "ipfix:/dev/stdin", "--to", to, "--server-name", "collector", "--rotate", "1s", "--max-rate", "50000"},
				pki.Flags("exporter")...)...)
			n, seq, tick := 0, 0, time.NewTicker(100*time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(time.Minute); carried.Load() < 3 && time.Now().Before(end); <-tick.C {
				for d := range domains {
					e.Input(string(domainMessage(d+1, n+1, seq, 5, seq == 0)))
					n += 5
				}
				seq += 5
			}
			e.EndInput()
			sum := e.Summary(time.Minute)
			tally := make(harness.Tally, n+1)
			full := 0
			for _, s := range ended() {
				if sum["collectors_lost"] == 0 && e.Starved() < 200*time.Millisecond && (s.err != nil || !s.orderly) {
					t.Errorf("a session ended with %v, %d channels open", s.err, len(s.channels))
				}
				seen := map[uint32]bool{}
				for _, l := range s.channels {
					if seen[l.domain] {
						t.Errorf("domain %d has two channels of one session", l.domain)
					}
					seen[l.domain] = true
					for _, number := range l.numbers {
						tally[number]++
					}
				}
				if s.opened == domains && len(seen) == domains {
					full++
				}
				if s.alive == 0 {
					t.Error("nobody asked for a sign of life")
				}
			}
			t.Logf("%v sessions, %d with all channels, %d resumed: %d of %d records missing, %d twice (%v replayed)",
				sum["sessions_opened"], full, resumed.Load(), tally.Missing(), n, tally.Again(), sum["records_replayed"])
			if tally.Missing() != 0 || tally.Again() > int(sum["records_replayed"]) || sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 {
				t.Errorf("%d records missing, %d twice: %v", tally.Missing(), tally.Again(), sum)
			}
			if full < 3 || resumed.Load() == 0 || sum["sessions_resumed"] == 0 || sum["rotations"] < 1 {
				t.Errorf("%d sessions with all channels, %d resumed: %v", full, resumed.Load(), sum)
			}
		})
	}
}

// One channel that gets no window back stalls none of 99 others, though more
// waits for it than its window takes, and though it got none from its first
// Template on; when it gets some, nothing of it is missing either.
func TestMTA_StalledChannel(t *testing.T) {
	for _, from := range []string{"later", "from its first template"} {
		t.Run(from, func(t *testing.T) { stalledChannel(t, from == "later") })
	}
}

func stalledChannel(t *testing.T, later bool) {
	t.Parallel()
	const domains, stalled, each, bulk = 100, 7, 150, 60_000 // 12 octets a record
	pki := harness.NewPKI(t, "collector", "exporter")
	var mu sync.Mutex
	others := map[uint32]int{}
	done := func() bool { // mu is held
		for _, k := range others {
			if k < each {
				return false
			}
		}
		return len(others) == domains-1
	}
	late := lateness(t)
	full, used := make(chan struct{}), sync.Once{}
	to, ended := mtaServer(t, mtaTLS(t, pki, "collector", tls.VersionTLS13), mtaJudge{
		holds: func(l *ledger) bool {
			mu.Lock()
			defer mu.Unlock()
			return l.domain == stalled && (len(l.numbers) > 0 || !later) && !done()
		},
		saw: func(l *ledger) {
			mu.Lock()
			defer mu.Unlock()
			if l.domain != stalled {
				others[l.domain] = max(others[l.domain], len(l.numbers))
			}
		},
		full: func() { used.Do(func() { close(full) }) },
	})
	e := harness.StartExporter(t, append([]string{"--source", "ipfix:/dev/stdin", "--to", to, "--server-name", "collector", "--rotate", "0", "--stall-after", "1m"},
		pki.Flags("exporter")...)...)
	n := 0
	seq := map[int]int{}
	give := func(domain, k int) {
		for ; k > 0; k -= 50 {
			e.Input(string(domainMessage(domain, n+1, seq[domain], 50, seq[domain] == 0)))
			seq[domain] += 50
			n += 50
		}
	}
	give(stalled, bulk)
	select {
	case <-full:
	case <-time.After(time.Minute):
		t.Fatal("the window is never used up")
	}
	for round := range each / 50 { // a second each, which is how long a record waits for others
		for d := range domains {
			if d+1 != stalled {
				give(d+1, 50)
			}
		}
		if round == each/50-1 {
			e.EndInput()
		}
		harness.Until(t, "the others have theirs", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for d, k := range others {
				if k < 50*(round+1) && d != domains {
					return false
				}
			}
			return len(others) >= domains-2 // the last message waits for the next
		})
	}
	sum := e.Summary(time.Minute)
	tally := make(harness.Tally, n+1)
	for _, s := range ended() {
		if s.opened != domains || s.err != nil && sum["collectors_lost"] == 0 {
			t.Errorf("a session of %d channels ended with %v", s.opened, s.err)
		}
		for _, l := range s.channels {
			for _, number := range l.numbers {
				tally[number]++
			}
		}
	}
	t.Logf("%v sessions, %d of %d records missing, %d twice (%v replayed)", sum["sessions_opened"], tally.Missing(), n, tally.Again(), sum["records_replayed"])
	if tally.Missing() != 0 || tally.Again() > int(sum["records_replayed"]) || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 {
		t.Errorf("%d records missing, %d twice: %v", tally.Missing(), tally.Again(), sum)
	}
	if !later && sum["channels_stalled"] == 0 {
		t.Errorf("nobody noticed: %v", sum)
	}
	// Who has no processor for 0.2 s gives no sign of life in time.
	if starved := max(e.Starved(), late()); sum["sessions_opened"] != 1 && starved < 200*time.Millisecond {
		t.Errorf("the channel ended its session, though nobody had to wait for a processor for longer than %v: %v", starved, sum)
	}
}

// The end of a channel, its refusal, or that nobody answers its request, is not
// that of the session, at our exporter as well: the others go on, and its
// Observation Domain on another channel, as a Transport Session of its own, with what was not acknowledged.
func TestMTA_ChannelEnds(t *testing.T) {
	t.Parallel()
	const domains, ending, each, ends = 30, 7, 600, 2
	pki := harness.NewPKI(t, "collector", "exporter")
	file, n := domainFile(t, slices.Repeat([]int{each}, domains))
	var mu sync.Mutex
	shut := 0
	to, ended := mtaServer(t, mtaTLS(t, pki, "collector", tls.VersionTLS13), mtaJudge{
		shuts: func(l *ledger) bool {
			mu.Lock()
			defer mu.Unlock()
			if l.domain != ending || len(l.numbers) == 0 || shut == ends {
				return false
			}
			shut++
			return true
		},
		refuses: func(n int) bool { return n == 3 },
		leaves:  func(n int) bool { return n == 5 },
	})
	e := harness.StartExporter(t, append([]string{"--source", "ipfix:" + file, "--to", to, "--server-name", "collector", "--rotate", "0", "--max-rate", strconv.Itoa(n / 3), "--stall-after", "4s"},
		pki.Flags("exporter")...)...)
	sum := e.Summary(time.Minute)
	tally := make(harness.Tally, n+1)
	channels, carried := 0, map[uint32]int{}
	for _, s := range ended() {
		if s.err != nil && sum["collectors_lost"] == 0 {
			t.Errorf("a session ended with %v", s.err)
		}
		channels += s.opened
		for _, l := range s.channels {
			carried[l.domain]++
			for _, number := range l.numbers {
				tally[number]++
			}
		}
	}
	t.Logf("%v sessions, %d channels, %d of domain %d: %d of %d records missing, %d twice (%v replayed)",
		sum["sessions_opened"], channels, carried[ending], ending, tally.Missing(), n, tally.Again(), sum["records_replayed"])
	if tally.Missing() != 0 || tally.Again() > int(sum["records_replayed"]) || sum["records_dropped"] != 0 || sum["records_unconfirmed"] != 0 {
		t.Errorf("%d records missing, %d twice: %v", tally.Missing(), tally.Again(), sum)
	}
	if carried[ending] < ends+1 || sum["channels_renewed"] == 0 || sum["collectors_closed"] != 0 {
		t.Errorf("channels by domain %v: %v", carried, sum)
	}
}

// lateness tells how late a clock of the test's was at most.
func lateness(t *testing.T) func() time.Duration {
	const every = 20 * time.Millisecond
	var most atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
	})
	wg.Go(func() {
		for tick := time.NewTicker(every); ; {
			last := time.Now()
			select {
			case <-stop:
				return
			case <-tick.C:
				most.Store(max(most.Load(), int64(time.Since(last)-every)))
			}
		}
	})
	return func() time.Duration { return time.Duration(most.Load()) }
}
