package interop

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"ipfixsuite/test/harness"
)

// mtaVersions are those of TLS that MTA-TLS runs on.
var mtaVersions = []struct {
	name string
	tls  uint16
}{{"TLS 1.3", tls.VersionTLS13}, {"TLS 1.2", tls.VersionTLS12}}

// mtaTLS is one version of TLS for the second speaker, as either end.
func mtaTLS(t *testing.T, pki harness.PKI, name string, version uint16) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(pki.Cert(name), pki.Key(name))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(pki.CA())
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no authority: %v", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "localhost",
		MinVersion: version, MaxVersion: version, NextProtos: []string{mtaProtocol},
	}
}

// domainFile writes an IPFIX file of Observation Domains from 1 on, of which
// many has how many records each is to have, by turns. The records count from
// 1 in octetDeltaCount; n is the last.
func domainFile(t *testing.T, many []int) (name string, n int) {
	t.Helper()
	var file []byte
	seq := make([]int, len(many))
	for more := true; more; {
		more = false
		for d := range many {
			k := min(50, many[d]-seq[d])
			if k <= 0 {
				continue
			}
			more = true
			file = append(file, domainMessage(d+1, n+1, seq[d], k, true)...)
			seq[d] += k
			n += k
		}
	}
	name = filepath.Join(t.TempDir(), "domains.ipfix")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, n
}

// domainMessage is a message of k records that count from first on.
func domainMessage(domain, first, seq, k int, template bool) []byte {
	b := bytes.Join([][]byte{be16(10), be16(0), be32(int(time.Now().Unix())), be32(seq), be32(domain)}, nil)
	if template { // octetDeltaCount, sourceIPv4Address
		b = append(b, 0, 2, 0, 16, 1, 0, 0, 2, 0, 1, 0, 8, 0, 8, 0, 4)
	}
	b = append(append(b, 1, 0), be16(4+12*k)...)
	for i := range k {
		b = append(binary.BigEndian.AppendUint64(b, uint64(first+i)), 192, 0, 2, 1)
	}
	copy(b[2:], be16(len(b)))
	return b
}

// ledger is what arrived at the second speaker on one channel, as goflow2 reads
// it: by itself, for a channel is a Transport Session.
type ledger struct {
	templates netflow.NetFlowTemplateSystem
	domain    uint32
	sequence  uint32
	numbers   []int
}

func (l *ledger) read(m []byte) error {
	var v9 netflow.NFv9Packet
	var msg netflow.IPFIXPacket
	if err := netflow.DecodeMessageVersion(bytes.NewBuffer(m), l.templates, &v9, &msg); err != nil {
		return err
	}
	if msg.ObservationDomainId != l.domain || msg.SequenceNumber != l.sequence {
		return fmt.Errorf("domain %d, number %d, on the channel of domain %d, whose next is %d", msg.ObservationDomainId, msg.SequenceNumber, l.domain, l.sequence)
	}
	for _, set := range msg.FlowSets {
		switch set := set.(type) {
		case netflow.OptionsDataFlowSet:
			l.sequence += uint32(len(set.Records))
		case netflow.DataFlowSet:
			l.sequence += uint32(len(set.Records))
			for _, r := range set.Records {
				for _, f := range r.Values {
					if b, ok := f.Value.([]byte); ok && f.Type == 1 && len(b) == 8 {
						l.numbers = append(l.numbers, int(binary.BigEndian.Uint64(b)))
					}
				}
			}
		}
	}
	return nil
}

// taken is one session at the second speaker.
type taken struct {
	resumed, orderly bool
	opened, alive    int
	channels         map[*mtaChannel]*ledger
	err              error
}

// mtaJudge is what a test has to say to what arrives; each may be nil.
type mtaJudge struct {
	holds   func(*ledger) bool // keeps a channel's window back
	saw     func(*ledger)
	shuts   func(*ledger) bool // closes a channel of which something came
	full    func()             // a channel's window is used up
	began   func(resumed bool) // a handshake is complete
	carries func(channels int) // so many of a session's have brought records, one more than before
	// refuses and leaves say of the n-th channel that a session asks for, from 1
	// on, that it is not given, or not answered at all.
	refuses, leaves func(n int) bool
}

// collects serves the draft to one connection until its end.
func collects(c *tls.Conn, j mtaJudge) (got taken) {
	got.channels = map[*mtaChannel]*ledger{}
	s := newMTASpeaker(c, false, 300_000, 5000)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	if got.err = c.Handshake(); got.err != nil {
		return got
	}
	st := c.ConnectionState()
	if got.resumed = st.DidResume; st.NegotiatedProtocol != mtaProtocol {
		got.err = fmt.Errorf("agreed on %q", st.NegotiatedProtocol)
		return got
	}
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	if j.began != nil {
		j.began(got.resumed)
	}
	asked := 0
	s.leaves = func() bool {
		asked++
		return j.leaves != nil && j.leaves(asked)
	}
	s.grants = func(host string, to int) bool {
		return host == "collector" && strconv.Itoa(to) == port && (j.refuses == nil || !j.refuses(asked))
	}
	var held []*mtaChannel
	used := 0 // channels
	s.message = func(ch *mtaChannel, m []byte) (bool, error) {
		l, some := got.channels[ch], 0
		if l != nil {
			some = len(l.numbers)
		}
		if l == nil {
			l = &ledger{templates: netflow.CreateTemplateSystem(), domain: binary.BigEndian.Uint32(m[12:])}
			got.channels[ch] = l
		}
		if err := l.read(m); err != nil {
			return false, err
		}
		if some == 0 && len(l.numbers) > 0 {
			if used++; j.carries != nil {
				j.carries(used)
			}
		}
		if j.saw != nil {
			j.saw(l)
		}
		if !ch.closing && j.shuts != nil && j.shuts(l) {
			s.shut(ch) // what it has brought lately is not acknowledged
		}
		if ch.closing {
			return false, nil
		}
		if j.holds != nil && j.holds(l) {
			if !slices.Contains(held, ch) {
				held = append(held, ch)
			}
			return false, nil
		}
		for _, ch := range held { // nobody holds them any more, perhaps
			if !j.holds(got.channels[ch]) {
				s.acknowledge(ch)
			}
		}
		return true, nil
	}
	s.full = func(*mtaChannel) {
		if j.full != nil {
			j.full()
		}
	}
	for got.err == nil {
		got.err = s.step()
	}
	got.opened, got.alive = s.opened, s.lifeSigns
	if errors.Is(got.err, io.EOF) {
		got.err, got.orderly = nil, len(s.channels) == 0
	}
	return got
}

// mtaServer collects as the second speaker. ended waits for the end of all
// sessions and tells of those that were more than begun: at its end an exporter
// may be about to open another.
func mtaServer(t *testing.T, cfg *tls.Config, j mtaJudge) (to string, ended func() []taken) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []taken
	var wg sync.WaitGroup
	ended = func() []taken {
		ln.Close()
		wg.Wait() // their time is bounded
		return slices.DeleteFunc(all, func(s taken) bool { return s.carried() == 0 })
	}
	t.Cleanup(func() { ended() })
	wg.Go(func() { // ended by ln.Close
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { // ended by the exporter, or its deadline
				s := collects(c.(*tls.Conn), j)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, s)
			})
		}
	})
	return "mta+tls+tcp://" + ln.Addr().String(), ended
}

// carried is how many records came.
func (s *taken) carried() (n int) {
	for _, l := range s.channels {
		n += len(l.numbers)
	}
	return n
}

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

// The second speaker as an exporter: a hundred channels into our collector,
// packets cut and joined at will. What the collector has acknowledged stands in
// its files, though it is killed at that moment. The second session resumes the
// first; channels to anywhere else are refused, and nobody is called.
func TestMTA_SecondSpeakerExports(t *testing.T) {
	t.Parallel()
	const channels, each = 100, 40
	pki := harness.NewPKI(t, "collector", "exporter")
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	called := make(chan struct{}, 1)
	go func() { // ended by Close
		if _, err := elsewhere.Accept(); err == nil {
			called <- struct{}{}
		}
	}()
	for _, v := range mtaVersions {
		t.Run(v.name, func(t *testing.T) {
			flows := t.TempDir()
			c := harness.StartCollector(t, append([]string{"--listen", "mta+tls+tcp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
			cfg := mtaTLS(t, pki, "exporter", v.tls)
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			_, port, _ := net.SplitHostPort(c.Addr)
			for session := range 2 {
				conn, err := tls.Dial("tcp", c.Addr, cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if st := conn.ConnectionState(); st.NegotiatedProtocol != mtaProtocol || st.DidResume != (session == 1) {
					t.Fatalf("session %d: protocol %q, resumed %v", session, st.NegotiatedProtocol, st.DidResume)
				}
				s := newMTASpeaker(conn, true, 1000, 1000)
				if err := exports(s, int(num(t, port)), channels, each, session*channels*each, elsewhere.Addr().(*net.TCPAddr).Port); err != nil {
					t.Fatal(err)
				}
				if session == 1 {
					break // killed with all channels open
				}
				for _, ch := range s.channels {
					s.shut(ch)
				}
				for err = s.flush(); err == nil && len(s.channels) > 0; {
					err = s.step()
				}
				if err == nil {
					err = conn.CloseWrite()
				}
				for err == nil {
					err = s.step()
				}
				if !errors.Is(err, io.EOF) {
					t.Fatalf("the end of the session: %v", err)
				}
			}
			c.Kill()
			domainOf := map[uint64]uint32{}
			files, _ := filepath.Glob(filepath.Join(flows, "*"))
			for _, file := range files { // nobody gave them their last names
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for line := range bytes.Lines(raw) {
					var r struct {
						Session uint64 `json:"@session"`
						Domain  uint32 `json:"@domain"`
					}
					if err := json.Unmarshal(line, &r); err != nil {
						t.Fatalf("%s: %v", line, err)
					}
					if was, ok := domainOf[r.Session]; ok && was != r.Domain {
						t.Errorf("session %d has the domains %d and %d", r.Session, was, r.Domain)
					}
					domainOf[r.Session] = r.Domain
				}
			}
			written := harness.Written(t, 2*channels*each, flows)
			if written.Missing() != 0 || written.Again() != 0 || len(domainOf) != 2*channels {
				t.Errorf("%d records missing, %d twice, %d sessions", written.Missing(), written.Again(), len(domainOf))
			}
		})
	}
	select {
	case <-called:
		t.Error("the collector called somebody on behalf of a peer")
	default:
	}
}

// exports sends records from after+1 on, each on as many channels, and waits
// until they are acknowledged.
func exports(s *mtaSpeaker, port, channels, each, after, elsewhere int) error {
	list := make([]*mtaChannel, channels)
	for i := range list {
		list[i] = s.ask([]string{"localhost", "127.0.0.1", "collector"}[i%3], port)
	}
	s.ask("127.0.0.1", elsewhere)
	s.ask("localhost", elsewhere)
	s.ask("192.0.2.9", port)
	err := s.flush()
	for err == nil && len(s.asking) > 0 {
		err = s.step()
	}
	if err != nil || s.opened != channels || s.refusals != 3 {
		return fmt.Errorf("%d channels granted, %d refused: %w", s.opened, s.refusals, err)
	}
	for round := range each / 10 { // of each channel a message, in pieces that go by turns
		left := make([][]byte, channels)
		for i := range list {
			left[i] = domainMessage(i+1, after+i*each+round*10+1, round*10, 10, round == 0)
		}
		for more := true; more; {
			more = false
			for i, ch := range list {
				n := min(len(left[i]), 1+(i*7+round*13)%90)
				left[i] = left[i][s.send(ch, left[i][:n], 40):]
				more = more || len(left[i]) > 0
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
	for _, ch := range list {
		for ch.returned < ch.sent {
			if err := s.step(); err != nil {
				return err
			}
		}
	}
	return nil
}
