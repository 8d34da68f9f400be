package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// run is an exporter with 5000 records a second and a collector, a Relay
// between them.
type run struct {
	relay    *Relay
	n        int
	flows    string
	summary  string
	exporter *harness.Process
	c        *harness.Collector
}

func start(t *testing.T, d time.Duration, cfg Config, flags ...string) *run {
	t.Helper()
	const rate = 5000
	pki := harness.NewPKI(t, "collector", "exporter")
	r := &run{n: int(d.Seconds() * rate), flows: filepath.Join(t.TempDir(), "flows"), summary: filepath.Join(t.TempDir(), "exporter.json")}
	r.c = harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + r.flows}, pki.Flags("collector")...)...)
	r.relay = between(t, r.c.Addr, cfg)
	args := append([]string{"run", "--summary", r.summary, "--log-format", "json", "--source", "json:" + harness.Numbered(t, r.n), "--to", "dtls+udp://" + r.relay.Addr(),
		"--max-rate", fmt.Sprint(rate), "--mtu", "1500"}, pki.Flags("exporter")...)
	r.exporter = harness.Start(t, harness.Binary(t, "exporter"), append(args, flags...)...)
	r.exporter.Wait(`"msg":"session opened"`)
	return r
}

// end ends both, checks that nothing is missing, double or lost with its
// session, and returns what they counted.
func (r *run) end(t *testing.T) (exporter, collector map[string]float64) {
	t.Helper()
	r.exporter.End()
	sum, got := harness.ReadSummary(t, r.summary), r.c.Summary()
	written := harness.Written(t, r.n, r.flows)
	missing, again := written.Missing(), written.Again()
	t.Logf("%v sessions, %v rotations, %v heartbeats; up %+v, down %+v", sum["sessions_opened"], sum["rotations"], sum["heartbeats_sent"],
		r.relay.Counters(Up), r.relay.Counters(Down))
	if missing != 0 || again != 0 {
		t.Errorf("%d records missing, %d twice", missing, again)
	}
	if sum["collectors_lost"] != 0 || sum["records_sent"] != float64(r.n) {
		t.Errorf("exporter %v", sum)
	}
	if got["records_received"] != float64(r.n) || got["records_lost"] != 0 || got["messages_malformed"] != 0 {
		t.Errorf("collector %v", got)
	}
	return sum, got
}

// unharmed does harm to an exporter and a collector and checks that it leaves
// no trace: there is but one session. A machine that stands still for 0.4 s
// makes the exporter doubt its collector as well, so what is done may seem to
// have harmed once or twice, but not each time.
func unharmed(t *testing.T, cfg Config, harm func(*run)) (exporter map[string]float64) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		r := start(t, 6*time.Second, cfg)
		harm(r)
		sum, got := r.end(t)
		if sum["sessions_opened"] == 1 && sum["rotations"] == 0 && got["sessions_opened"] == 1 {
			return sum
		}
		doubts := r.exporter.Logged(`"cause":"suspicion"`)
		if t.Failed() || attempt == 3 || len(doubts) == 0 {
			t.Errorf("exporter %v, collector %v", sum, got)
			return sum
		}
		t.Logf("the exporter had its doubts: once more")
	}
}

// wire is a DTLS 1.2 record.
func wire(kind byte, epoch uint16, seq uint64, body []byte) []byte {
	b := []byte{kind, 0xfe, 0xfd}
	b = binary.BigEndian.AppendUint64(b, uint64(epoch)<<48|seq)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// noises are records that anybody can write.
func noises(rng *rand.Rand) [][]byte {
	noise := make([]byte, 40+rng.IntN(1200))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	seq := rng.Uint64N(1 << 48)
	return [][]byte{
		wire(21, 0, seq, []byte{1, 0}),        // close_notify, in the clear
		wire(21, 0, seq, []byte{2, 40}),       // handshake_failure
		wire(21, 0, 0, []byte{2, 80}),         // internal_error
		wire(20, 0, seq, []byte{1}),           // ChangeCipherSpec
		wire(22, 0, seq, make([]byte, 12)),    // HelloRequest
		wire(22, 0, seq, noise),               // no handshake at all
		wire(23, 0, seq, noise),               // data in the clear
		wire(24, 0, seq, []byte{1, 0, 16, 1}), // heartbeat request
		wire(24, 0, seq, append([]byte{2}, noise...)),
		wire(21, 1, seq, noise[:min(len(noise), 26)]), // an alert's size, a bad tag
		wire(23, 1, seq, noise),
		wire(23, 1, 1<<48-1, noise), // the last number there is
		wire(24, 1, seq, noise),
		wire(22, 1, seq, noise),
		wire(25, 1, seq, noise),
		wire(23, 2, seq, noise),      // another epoch
		wire(23, 0xffff, seq, noise), // the last epoch
		wire(23, 1, seq, nil),
		{}, noise, noise[:12], {23}, {22, 0xfe, 0xfd},
	}
}

// forgeries are records that somebody can write who sees the wire and knows
// no key. genuine is what passed there before.
func forgeries(rng *rand.Rand, genuine []Datagram) [][]byte {
	all := noises(rng)
	for range 4 {
		// A genuine one, once more, cut off, and with one bit turned.
		d := genuine[rng.IntN(len(genuine))].Data
		turned := bytes.Clone(d)
		turned[rng.IntN(len(d))] ^= 1 << rng.IntN(8)
		all = append(all, d, d[:rng.IntN(len(d))], turned, append(bytes.Clone(d), all[19]...))
	}
	return all
}

// of are the datagrams that passed one way.
func of(all []Datagram, way Direction) []Datagram {
	var some []Datagram
	for _, d := range all {
		if d.Way == way {
			some = append(some, d)
		}
	}
	return some
}

// attack writes forgeries in the name of both ends, of all sessions there
// were. What went one way goes the other, too.
func (r *run) attack(t *testing.T, d, pause time.Duration) {
	t.Helper()
	rng := rand.New(rand.NewPCG(6347, 1))
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(pause) {
		r.keepsUp(t)
		seen := r.relay.Recorded()
		r.inject(func(Direction) [][]byte { return forgeries(rng, of(seen, Direction(rng.IntN(2)))) })
	}
}

// keepsUp waits until the collector has read most of what it was sent: for what
// its socket has no room it is not to blame.
func (r *run) keepsUp(t *testing.T) {
	t.Helper()
	port := int(netip.MustParseAddrPort(r.c.Addr).Port())
	harness.Until(t, "the collector reads", func() bool { return harness.Unread(t, port) < 128<<10 })
}

// inject writes datagrams in the name of both ends of each session.
func (r *run) inject(forge func(Direction) [][]byte) {
	for _, client := range r.relay.Clients() {
		for _, way := range []Direction{Up, Down} {
			for _, d := range forge(way) {
				r.relay.Inject(way, client, d)
			}
		}
	}
}

// Records without a key, with wrong epochs, wrong tags, doubled, cut off and
// changed ones, in the name of both ends: nobody notices (RFC 6347, 4.1.2.7).
func TestForgedRecords(t *testing.T) {
	t.Parallel()
	unharmed(t, Config{Record: true}, func(r *run) { r.attack(t, 4*time.Second, 50*time.Millisecond) })
}

// A handshake can be spoiled by who sees it and is quicker than the collector.
// The session that carries the data cannot, no more than one handshake a
// second is begun, and the next one succeeds when he lets it be. Who knows
// nothing of the handshake spoils none.
func TestForgedRecords_Rotating(t *testing.T) {
	t.Parallel()
	pki := harness.NewPKI(t, "collector", "exporter")
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	relay := between(t, c.Addr, Config{Record: true, Delay: 5 * time.Millisecond})
	began := time.Now()
	e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", "dtls+udp://" + relay.Addr(), "--rotate", "1s", "--mtu", "1500"}, pki.Flags("exporter")...)...)
	feed := &harness.Feeder{Rate: 2000}
	feed.Begin(e)
	e.Wait(`"msg":"session opened"`)
	r := &run{relay: relay, c: c}

	replaced := func() int { return len(e.Logged(`"msg":"session replaced"`)) }
	rng := rand.New(rand.NewPCG(6347, 2))
	harness.Until(t, "sessions are replaced", func() bool {
		for range 4 { // as often as it asks
			time.Sleep(5 * time.Millisecond)
			r.keepsUp(t)
			r.inject(func(Direction) [][]byte { return noises(rng) })
		}
		return replaced() >= 3
	})
	noise := relay.Counters(Up).Injected
	r.attack(t, 5*time.Second, 10*time.Millisecond)
	attacked := replaced()
	harness.Until(t, "more are", func() bool { return replaced() >= attacked+2 })

	last := feed.End()
	e.EndInput()
	sum := e.Summary(time.Minute)
	took := time.Since(began).Seconds()
	got := c.Summary()
	written := harness.Written(t, last, flows)
	failed := e.Logged(`"msg":"no session with collector"`)
	t.Logf("%v sessions, %v rotations, %d of them before the attack ended, %d attempts failed in %.1f s; %d noises and %d forgeries each way",
		sum["sessions_opened"], sum["rotations"], attacked, len(failed), took, noise, relay.Counters(Up).Injected-noise)
	if written.Missing() != 0 || written.Again() != 0 || got["records_lost"] != 0 || got["messages_malformed"] != 0 {
		t.Errorf("%d records missing, %d twice; collector %v", written.Missing(), written.Again(), got)
	}
	if sum["collectors_lost"] != 0 || sum["collectors_closed"] != 0 || sum["records_sent"] != float64(last) || sum["records_replayed"] != 0 {
		t.Errorf("exporter %v", sum)
	}
	if tried := sum["sessions_opened"] + float64(len(failed)); tried > took+1 {
		t.Errorf("%v handshakes in %.1f s", tried, took)
	}
}

// The handshake of this very session is played again, to the collector from
// the exporter's port and from others, and to the exporter: the session goes
// on, and no other comes to be.
func TestReplayedHandshake(t *testing.T) {
	t.Parallel()
	const some = 20 // the handshake and what came next
	unharmed(t, Config{Record: true}, func(r *run) { r.replay(t, some) })
}

// replay sends the first datagrams of the session again.
func (r *run) replay(t *testing.T, some int) {
	t.Helper()
	harness.Until(t, "the session has carried data", func() bool { return len(r.relay.Recorded()) >= some })
	hands := r.relay.Recorded()[:some]
	client := r.relay.Clients()[0]
	for i := range 8 {
		for _, d := range hands {
			r.relay.Inject(d.Way, client, d.Data)
			if i%2 == 0 {
				time.Sleep(5 * time.Millisecond) // time to answer
			}
		}
		// From elsewhere: all that the exporter said then.
		stranger, err := net.Dial("udp4", r.c.Addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range of(hands, Up) {
			_, _ = stranger.Write(d.Data)
			time.Sleep(5 * time.Millisecond)
		}
		stranger.Close()
		time.Sleep(200 * time.Millisecond)
	}
}

// unreachable writes an ICMP port unreachable about a datagram from client to
// server, as its server's host would (RFC 792; RFC 1122, 3.2.2.1).
func unreachable(client, server netip.AddrPort) []byte {
	quoted := make([]byte, 28)
	quoted[0], quoted[8], quoted[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(quoted[2:], 1200)
	from, to := client.Addr().As4(), server.Addr().As4()
	copy(quoted[12:], from[:])
	copy(quoted[16:], to[:])
	binary.BigEndian.PutUint16(quoted[20:], client.Port())
	binary.BigEndian.PutUint16(quoted[22:], server.Port())
	binary.BigEndian.PutUint16(quoted[24:], 1180)
	m := append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted...)
	var sum uint32
	for i := 0; i < len(m); i += 2 {
		sum += uint32(m[i])<<8 | uint32(m[i+1])
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum+sum>>16))
	return m
}

// Forged ICMP says a thousand times that nobody listens at the collector's
// port. A hint is no proof: the collector answers, and that ends it.
func TestForgedUnreachable(t *testing.T) {
	t.Parallel()
	raw, err := net.Dial("ip4:icmp", "127.0.0.1")
	if err != nil {
		harness.Missing(t, fmt.Sprintf("raw sockets: %v", err))
	}
	defer raw.Close()
	var began time.Time
	sum := unharmed(t, Config{}, func(r *run) {
		began = time.Now()
		server := netip.MustParseAddrPort(r.relay.Addr())
		sent := 0
		for end := began.Add(4 * time.Second); time.Now().Before(end); time.Sleep(4 * time.Millisecond) {
			for _, client := range r.relay.Clients() {
				if _, err := raw.Write(unreachable(client, server)); err != nil {
					harness.Missing(t, fmt.Sprintf("icmp: %v", err))
				}
				sent++
			}
		}
		t.Logf("%d forged", sent)
	})
	took := time.Since(began).Seconds()
	t.Logf("%v heartbeats answered in %.1f s", sum["heartbeats_answered"], took)
	// One each second, and one for a hint, but no more than 5 a second.
	if h := sum["heartbeats_answered"]; h < 12 || h > 5*took+10 {
		t.Errorf("%v heartbeats: the hints are not heard, or cost too much", h)
	}
}
