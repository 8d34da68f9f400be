package netem

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
)

// patience is what a slow machine may take beside the time that data flows.
const patience = 3 * time.Minute

func TestMain(m *testing.M) { harness.Main(m) }

// bad makes one end of the link bad for what leaves it. What the kernel is to
// cut into datagrams is cut before (tbf), so that each is lost by itself.
func bad(n *harness.Network, ns, iface string) {
	n.Run(ns, "tc qdisc add dev "+iface+" root handle 1: tbf rate 100mbit burst 1600 latency 1s")
	n.Run(ns, "tc qdisc add dev "+iface+" parent 1:1 handle 2: netem delay 20ms 2ms loss 2% reorder 5%")
}

// dropped is how many packets netem lost at one end, of how many.
func dropped(t *testing.T, ns, iface string) (drops, packets int) {
	t.Helper()
	var list []struct {
		Kind           string
		Drops, Packets int
	}
	out := harness.Run(t, "tc", "-n", ns, "-s", "-j", "qdisc", "show", "dev", iface)
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, q := range list {
		if q.Kind == "netem" {
			return q.Drops, q.Packets + q.Drops
		}
		if q.Kind == "tbf" && q.Packets == 0 {
			t.Fatalf("nothing went through: %s", out)
		}
	}
	t.Fatalf("no netem: %s", out)
	return 0, 0
}

// duration is how long data flows: seconds, unless as long is asked for as in
// test/rotation.
func duration(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("IPFIXSUITE_ROTATION_TIME")
	if s == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("IPFIXSUITE_ROTATION_TIME: %v", err)
	}
	return d
}

// One session a second at 20000 records a second over a link of 20 ms that
// loses 2 % and reorders, both ways: what is missing at the end is what the link
// lost, and no more.
func TestRotation(t *testing.T) {
	if !uml.Inside() {
		uml.Need(t)
		programs := t.TempDir()
		uml.Programs(t, programs)
		job := uml.Job{Shared: programs, Limit: 2*duration(t) + patience}
		if duration(t) > 20*time.Second {
			job.Memory = "1536M" // its files are in there
		}
		job.Self(t)
		return
	}
	t.Run("each second", rotating)
}

func rotating(t *testing.T) {
	const rate = 20_000
	d := duration(t)
	n := int(d.Seconds() * rate)
	net := harness.NewNetwork(t)
	bad(net, net.A, "va")
	bad(net, net.B, "vb")
	net.Up()
	pki := harness.NewPKI(t, "collector", "exporter")
	flows, input := filepath.Join(t.TempDir(), "flows"), harness.Numbered(t, n)
	var c *harness.Collector
	net.Inside(net.B, func() {
		c = harness.StartCollector(t, append([]string{"--listen", "dtls+udp://192.0.2.2:4740", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	})
	var e *harness.Exporter
	begin := time.Now()
	net.Inside(net.A, func() {
		e = harness.StartExporter(t, append([]string{"--source", "json:" + input, "--to", "dtls+udp://192.0.2.2:4740", "--server-name", "localhost",
			"--rotate", "1s", "--full-handshake-every", "5", "--max-rate", fmt.Sprint(rate), "--mtu", "1500"}, pki.Flags("exporter")...)...)
	})
	sum := e.Summary(d + patience/2)
	took := time.Since(begin)
	up, sent := dropped(t, net.A, "va")
	down, answers := dropped(t, net.B, "vb")
	got := c.Summary()
	written := harness.Written(t, n, flows)
	missing, again := written.Missing(), written.Again()
	// A datagram of 1500 octets holds so many: IP, UDP, DTLS, message and set
	// headers go off.
	const room = (1500 - 20 - 8 - 13 - 8 - 16 - 16 - 4) / harness.RecordSize
	t.Logf("%v (%.0f records/s): %v rotations, %v sessions (%v resumed), longest gap %v µs; netem lost %d of %d packets up, %d of %d down; %d of %d records missing, room for %d lost; the collector knows of %v, %v late, %d twice (%v replayed), %v heartbeats",
		took.Round(time.Millisecond), float64(n)/took.Seconds(), sum["rotations"], sum["sessions_opened"], sum["sessions_resumed"], sum["max_swap_gap_us"], up, sent, down, answers,
		missing, n, up*room, got["records_lost"], got["records_late"], again, sum["records_replayed"], sum["heartbeats_sent"])
	if up == 0 || sent < n/room || got["records_late"] == 0 {
		t.Errorf("the link is not as it should be: %d of %d packets lost, %v records late", up, sent, got["records_late"])
	}
	if missing > up*room {
		t.Errorf("%d records missing: more than the %d of the link", missing, up*room)
	}
	// The exporter's own records, its statistics, are lost like others.
	control := sum["control_records_sent"] - got["control_records_received"]
	if again == 0 && got["records_lost"] > float64(missing)+control || float64(again) > sum["records_replayed"] {
		t.Errorf("%d records missing, %d twice; the collector knows of %v lost, the exporter of %v sent again", missing, again, got["records_lost"], sum["records_replayed"])
	}
	if sum["rotations"] < d.Seconds()*0.5 || sum["sessions_resumed"] < sum["rotations"]/2 {
		t.Errorf("%v rotations in %v, %v resumed", sum["rotations"], took, sum["sessions_resumed"])
	}
	if sum["records_sent"] != float64(n) || sum["records_dropped"] != 0 || sum["collectors_lost"] != 0 {
		t.Errorf("exporter %v", sum)
	}
	if got["records_undecodable"] != 0 || got["socket_drops"] != 0 {
		t.Errorf("collector %v", got)
	}
}
