package link

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/transport/udp"
)

// memory is the most that a program has had in memory so far, in octets.
func memory(t *testing.T, p *harness.Process) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(raw)
	if m == nil {
		t.Fatalf("no VmHWM in %s", raw)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// junk is what somebody sends who wants to do harm with one datagram: noise, a
// message that is cut off, one of a template and data for it, data whose
// template never comes.
func junk(rng *rand.Rand, i int) []byte {
	message := func(sets ...[]byte) []byte {
		b := []byte{0, 10, 0, 0, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(1 + rng.IntN(3))}
		for _, s := range sets {
			binary.BigEndian.PutUint16(s[2:], uint16(len(s)))
			b = append(b, s...)
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		return b
	}
	noise := make([]byte, 100+rng.IntN(1200))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	fields := 2 + rng.IntN(200)
	template := binary.BigEndian.AppendUint32([]byte{0, 2, 0, 0}, 300<<16|uint32(fields))
	for f := range fields {
		template = binary.BigEndian.AppendUint32(template, uint32(1+f)<<16|4)
	}
	switch i % 4 {
	case 0:
		return noise
	case 1:
		return message(template, noise)[:40+rng.IntN(60)]
	case 2:
		return message(template)
	}
	return message(append([]byte{2, 0, 0, 0}, noise...))
}

// flood sends a datagram of junk from each port of an address, one after the
// other and not faster than a collector reads, and returns how many.
func flood(t *testing.T, from netip.Addr, to netip.AddrPort, ports int) (sent int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7011, uint64(from.As4()[2])))
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for port := 20_000; sent < ports; port++ {
		c, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, uint16(port))), net.UDPAddrFromAddrPort(to))
		if err != nil {
			continue // somebody has the port
		}
		if _, err := c.Write(junk(rng, port)); err == nil {
			sent++
		}
		c.Close()
		if sent%32 == 0 {
			<-pace.C
			harness.Until(t, "the collector reads", func() bool { return harness.Unread(t, int(to.Port())) < 128<<10 })
		}
	}
	return sent
}

// Whoever sends one plain datagram is a Transport Session (RFC 7011, Section
// 10.3). Junk from ever new ports and addresses fills its share of the table
// and no more: the exporter that is there goes on as if nothing were, and
// neither memory nor log grows without bound.
func TestJunkFromNewPorts(t *testing.T) {
	t.Parallel()
	const rate, seconds = 2000, 8
	prefixes := 3 // each a /24 of its own
	if long() {
		prefixes = 20 // more than the table has room for
	}
	n := rate * seconds
	if long() {
		n *= 4
	}
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, "--listen", "udp://127.0.0.1:0", "--sink", "json:"+flows)
	to := netip.MustParseAddrPort(c.Addr)
	e := harness.StartExporter(t, "--source", "json:"+harness.Numbered(t, n), "--to", "udp://"+c.Addr, "--max-rate", fmt.Sprint(rate), "--mtu", "1500")
	c.Wait(`"msg":"session opened"`)
	before, began := memory(t, c.Process), time.Now()
	sent := 0
	for i := range prefixes {
		sent += flood(t, netip.AddrFrom4([4]byte{127, 0, byte(100 + i), 1}), to, udp.DefaultMaxSessionsPerPrefix+500)
	}
	took := time.Since(began)
	after := memory(t, c.Process)
	sum := e.Summary(2 * time.Minute)
	got := c.Summary()
	written := harness.Written(t, n, flows)
	raw, err := os.ReadFile(c.SummaryFile())
	if err != nil {
		t.Fatal(err)
	}
	var details struct {
		Listeners []struct {
			Refused int `json:"sessions_refused"`
			Dropped map[string]int
		} `json:"listeners_detail"`
	}
	if err := json.Unmarshal(raw, &details); err != nil || len(details.Listeners) != 1 {
		t.Fatalf("%v: %s", err, raw)
	}
	listener := details.Listeners[0]
	lines := len(c.Lines())
	sessions := min(prefixes*udp.DefaultMaxSessionsPerPrefix, udp.DefaultMaxSessions)
	t.Logf("%d datagrams of junk in %v: %v sessions, %d refused (%v), %v malformed, %v drops of the socket; memory %d -> %d MiB, %d octets a session; %.2f s of CPU; %d lines of log; %d of %d records missing",
		sent, took.Round(time.Millisecond), got["sessions_opened"], listener.Refused, listener.Dropped, got["messages_malformed"], got["socket_drops"],
		before>>20, after>>20, (after-before)/sessions, got["cpu_seconds"], lines, written.Missing(), n)
	if written.Missing() != 0 || written.Again() != 0 || sum["records_dropped"] != 0 {
		t.Errorf("%d records missing, %d twice; exporter %v", written.Missing(), written.Again(), sum)
	}
	if opened := got["sessions_opened"]; opened > float64(sessions+2) || opened < float64(sessions)*0.9 {
		t.Errorf("%v sessions opened: want %d", opened, sessions)
	}
	if listener.Dropped["prefix-limit"]+listener.Dropped["session-limit"] < sent-sessions-1 {
		t.Errorf("%d datagrams in %d sessions, refused: %v", sent, sessions, listener.Dropped)
	}
	if per := (after - before) / sessions; per > 16<<10 {
		t.Errorf("%d octets a session", per)
	}
	if limit := 200 + 120*int(time.Since(began).Seconds()+1); lines > limit {
		t.Errorf("%d lines of log, want at most %d", lines, limit)
	}
}
