//go:build linux

package dccp

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
	"ipfixsuite/test/uml"
	"ipfixsuite/transport/dccp/carrier"
)

// TestPrograms runs exporter and collector where the kernel has DCCP: on its
// sockets, as they choose by themselves, and on ours, in every pairing.
func TestPrograms(t *testing.T) {
	if !uml.Inside() {
		uml.Need(t)
		t.Parallel()
		dir := t.TempDir()
		uml.Programs(t, dir)
		uml.Job{Modules: []string{"dccp_ipv4", "dccp_ipv6", "sctp"}, Shared: dir, Limit: 8 * time.Minute}.Self(t)
		return
	}
	n := newNetwork(t)
	t.Run("a close sends what is queued", func(t *testing.T) { drains(t, n) })
	t.Run("an empty message is no end", func(t *testing.T) { emptyMessage(t, n) })
	t.Run("bounds of a server", func(t *testing.T) { kernelServer(t, n) })
	t.Run("a server ends the silent", func(t *testing.T) { kernelServerSilence(t, n) })
	t.Run("a server hands over what has come", func(t *testing.T) { kernelServerDrains(t, n) })
	t.Run("a host dies", func(t *testing.T) { hostDies(t, n) })
	pki := harness.NewPKI(t, "collector", "exporter")
	t.Run("doctor", func(t *testing.T) { doctor(t, n, pki) })
	t.Run("doctor/SCTP", func(t *testing.T) { doctorSCTP(t, n, pki) })
	t.Run("doctor finds an MTU", func(t *testing.T) { doctorMTU(t, n, pki) })
	for _, pair := range []struct{ name, exporter, collector string }{
		{"kernel to kernel", "", ""},
		{"kernel to ours", "?stack=kernel", "?stack=raw"},
		{"ours to kernel", "?stack=raw", "?stack=kernel"},
	} {
		guard(t, n, n.A, "va", pair.exporter)
		guard(t, n, n.B, "vb", pair.collector)
		both(t, pair.name, func(t *testing.T, scheme string) {
			rotates(t, n, pki, scheme, "192.0.2.2", pair.exporter, pair.collector)
		})
		unguard(n, n.A, "va", pair.exporter)
		unguard(n, n.B, "vb", pair.collector)
	}
	t.Run("kernel to kernel/dtls+dccp/IPv6", func(t *testing.T) { rotates(t, n, pki, "dtls+dccp", "[2001:db8::2]", "", "") })
	both(t, "the collector dies", func(t *testing.T, scheme string) { dies(t, n, pki, scheme) })
}

// both runs a test in the clear and under DTLS, side by side: they have ports of
// their own.
func both(t *testing.T, name string, test func(t *testing.T, scheme string)) {
	t.Run(name, func(t *testing.T) {
		for _, scheme := range []string{"dccp", "dtls+dccp"} {
			t.Run(scheme, func(t *testing.T) {
				t.Parallel()
				test(t, scheme)
			})
		}
	})
}

// guard keeps the kernel from answering for a stack of ours.
func guard(t *testing.T, n *harness.Network, ns, iface, option string) {
	t.Helper()
	if option == "?stack=raw" {
		for line := range strings.Lines(carrier.MarkRule(iface, carrier.DefaultMark)) {
			n.Run(ns, strings.TrimSpace(line))
		}
	}
}

func unguard(n *harness.Network, ns, iface, option string) {
	if option == "?stack=raw" {
		n.Run(ns, "tc qdisc del dev "+iface+" clsact")
	}
}

// flags are the programs' credentials, or what does without.
func flags(pki harness.PKI, scheme, name string) []string {
	if !strings.HasPrefix(scheme, "dtls+") {
		return []string{"--insecure"}
	}
	return pki.Flags(name)
}

func startCollector(t *testing.T, n *harness.Network, pki harness.PKI, scheme, listen, flows string) *harness.Collector {
	t.Helper()
	var c *harness.Collector
	n.Inside(n.B, func() {
		c = harness.StartCollector(t, append([]string{"--listen", listen, "--sink", "json:" + flows}, flags(pki, scheme, "collector")...)...)
	})
	return c
}

func startExporter(t *testing.T, n *harness.Network, pki harness.PKI, scheme, to string, args ...string) *harness.Exporter {
	t.Helper()
	var e *harness.Exporter
	n.Inside(n.A, func() {
		e = harness.StartExporter(t, append(append([]string{"--to", to}, flags(pki, scheme, "exporter")...), args...)...)
	})
	return e
}

// rotates: a session each second, until one was replaced; every record is written
// once.
func rotates(t *testing.T, n *harness.Network, pki harness.PKI, scheme, host, from, at string) {
	flows := filepath.Join(t.TempDir(), "flows")
	listen := scheme + "://" + host + at
	if at == "" {
		listen = scheme + "://" // all addresses, of both families
	}
	c := startCollector(t, n, pki, scheme, listen, flows)
	e := startExporter(t, n, pki, scheme, scheme+"://"+host+from, "--source", "json:-", "--rotate", "1s", "--dead-after", "1m")
	feed := &harness.Feeder{Rate: 300}
	feed.Begin(e)
	e.LoggedAfter(time.Time{}, patience, `"cause":"period"`)
	e.LoggedAfter(time.Time{}, patience, `"msg":"session closed"`) // the one before
	records := feed.End()
	e.EndInput()
	sum := e.Summary(patience)
	got := c.Summary()
	tally := harness.Written(t, records, flows)
	if tally.Missing() > 0 || tally.Again() > 0 {
		t.Errorf("%d records missing, %d there again", tally.Missing(), tally.Again())
	}
	if sum["rotations"] < 1 || got["records_lost"] != 0 || sum["collectors_lost"] != 0 || sum["records_dropped"] != 0 {
		t.Errorf("exporter %v, collector %v", sum, got)
	}
	if scheme == "dtls+dccp" && (sum["heartbeats_answered"] == 0 || sum["sessions_resumed"] == 0) {
		t.Errorf("no heartbeats, or nothing resumed: %v", sum)
	}
	t.Logf("%v rotations, %v resumed, largest gap %v µs", sum["rotations"], sum["sessions_resumed"], sum["max_swap_gap_us"])
}

// dies: the collector is killed and started again; what it had not written is
// sent again. The kernel's sockets do not tell what arrived: without heartbeats
// that is what was sent within --retain.
func dies(t *testing.T, n *harness.Network, pki harness.PKI, scheme string) {
	dir, to := t.TempDir(), scheme+"://192.0.2.2"
	flows := []string{filepath.Join(dir, "before"), filepath.Join(dir, "after")}
	c := startCollector(t, n, pki, scheme, to, flows[0])
	e := startExporter(t, n, pki, scheme, to, "--source", "json:-", "--rotate", "1h", "--retain", "30s")
	feed := &harness.Feeder{Rate: 300}
	feed.Begin(e)
	harness.Until(t, "records before the death", func() bool { return len(lines(t, flows[0])) > 100 })
	c.Kill()
	c = startCollector(t, n, pki, scheme, to, flows[1])
	harness.Until(t, "records after it", func() bool { return len(lines(t, flows[1])) > 100 })
	records := feed.End()
	e.EndInput()
	sum := e.Summary(patience)
	c.Summary() // it has written all
	tally := harness.Written(t, records, flows...)
	if tally.Missing() > 0 || tally.Again() > int(sum["records_replayed"]) {
		t.Errorf("%d records missing (the first is %d), %d there again; %v", tally.Missing(), slices.Index(tally[1:], 0)+1, tally.Again(), sum)
	}
	if sum["collectors_lost"]+sum["collectors_closed"] == 0 || scheme == "dccp" && sum["records_replayed"] == 0 {
		t.Errorf("its death was not noticed: %v", sum)
	}
}

// drains: what congestion control holds back when a connection is closed is
// sent first, which Linux by itself does not.
func drains(t *testing.T, n *harness.Network) {
	n.Run(n.A, "tc qdisc add dev va root netem delay 20ms")
	defer n.Run(n.A, "tc qdisc del dev va root")
	l := kernelListen(t, n, versions["ipv4"].b)
	c, err := kernelDial(t, n, n.A, l.AddrPort(), service)
	if err != nil {
		t.Fatal(err)
	}
	got := accept(t, l)
	const messages = 60
	for i := range messages {
		if _, err := c.Write(message(i, c.MPS())); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	b := make([]byte, 2000)
	for i := range messages {
		if n, err := got.Read(b); err != nil || number(b[:n]) != i {
			t.Fatalf("message %d: %d octets, %v", i, n, err)
		}
	}
	if _, err := got.Read(b); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// lines are those of a JSON sink's files.
func lines(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Split(strings.TrimSpace(string(b)), "\n")...)
	}
	return all
}
