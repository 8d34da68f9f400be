//go:build linux

package sctp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"ipfixsuite/capture"
	"ipfixsuite/test/harness"
)

// trial is an exporter and a collector of ours that go through everything that
// may befall them. With the kernel's SCTP both ends of an association have two
// addresses.
type trial struct {
	scheme, url, flows string
	port, udp          uint16   // of SCTP, and of UDP if it is in there
	with, by           []string // flags of the collector and the exporter
	c                  *harness.Collector
	e                  *harness.Exporter
	feed               *harness.Feeder
	began              time.Time          // of what befalls it now
	count              map[string]float64 // of collectors that have ended
	read               map[string]int64   // octets read of each file
	have               harness.Tally      // what was in them
}

// mostRecords is more than any trial gives.
const mostRecords = 1 << 20

// What an exporter logs of a session's end. The kernel of a collector that was
// killed shuts its associations down in order, or aborts them if something was
// not read; in the clear that is all there is to know.
const (
	sessionLost  = `"msg":"session lost"`
	sessionEnded = `"msg":"collector closed the session"`
)

// sidePort is that of an association beside them.
const sidePort = 4741

// trialRate is records a second: a guest is slow.
const trialRate = 200

// retain is longer than an exporter needs to notice that a collector was killed
// where the kernel says nothing for it: a busy guest takes seconds to start
// another one, whose ABORT tells.
const retain = "20s"

// court is where trials are held: all schemes go through them side by side.
type court struct {
	t      *testing.T
	n      *harness.Network
	all    []*trial
	secure []*trial // of them
}

// trials: a session a second on a lossy path, a collector that is killed, one
// that ends in order, an association that is aborted, a collector that stands
// still, an address that is lost, a path that loses everything for five
// seconds. No record is lost.
func trials(t *testing.T, n *harness.Network) {
	c := convene(t, n)
	n.Run(n.A, "tc qdisc add dev va root netem delay 5ms loss 2%")
	for range 3 {
		c.told(time.Now(), `"msg":"session replaced"`, c.all...)
	}
	n.Run(n.A, "tc qdisc del dev va root")

	c.begin()
	for _, tr := range c.all {
		tr.c.Kill()
		tr.serve(t, n)
	}
	c.flows("SIGKILL")

	c.begin()
	for _, tr := range c.all {
		tr.stop()
		tr.serve(t, n)
	}
	c.flows("SIGTERM")

	c.abort()
	c.flows("ABORT")

	// A collector that stands still is noticed where its process has to answer;
	// in the clear what its host has taken meanwhile is there when it goes on.
	c.begin()
	for _, tr := range c.all {
		tr.signal(t, syscall.SIGSTOP)
	}
	c.ended(c.secure...)
	for _, tr := range c.all {
		tr.signal(t, syscall.SIGCONT)
	}
	c.flows("SIGSTOP")

	c.loseAddress()

	c.begin()
	beside := secure(t)
	beside.port = sidePort
	cut(t, n, beside)
	c.flows("100 % loss for 5 s")
	for _, tr := range c.all {
		tr.end(t)
	}
}

// convene starts an exporter and a collector of each scheme.
func convene(t *testing.T, n *harness.Network) *court {
	t.Helper()
	pki := harness.NewPKI(t, "collector", "exporter")
	c := &court{t: t, n: n}
	for _, tr := range []*trial{
		{scheme: "sctp", port: plainPort},
		{scheme: "dtls+sctp", port: securePort},
		{scheme: "sctp+udp", port: plainPort, udp: 9897},
		{scheme: "dtls+sctp+udp", port: securePort, udp: 9898},
	} {
		tr.flows, tr.count = filepath.Join(t.TempDir(), tr.scheme), map[string]float64{}
		tr.with, tr.by = []string{"--insecure"}, []string{"--insecure"}
		c.all = append(c.all, tr)
		if tr.port == securePort {
			tr.with, tr.by = pki.Flags("collector"), pki.Flags("exporter")
			c.secure = append(c.secure, tr)
		}
		tr.url = tr.scheme + "://192.0.2.2?addr=2001:db8::2"
		if tr.udp != 0 {
			tr.url = fmt.Sprintf("%s://192.0.2.2?udp=%d", tr.scheme, tr.udp)
		}
		tr.serve(t, n)
		n.Inside(n.A, func() {
			tr.e = harness.StartExporter(t, append([]string{"--source", "json:-", "--to", tr.url, "--rotate", "1s", "--retain", retain}, tr.by...)...)
		})
		tr.feed = &harness.Feeder{Rate: trialRate}
		tr.feed.Begin(tr.e)
	}
	return c
}

// begin notes when something befalls all.
func (c *court) begin() {
	for _, tr := range c.all {
		tr.began = time.Now()
	}
}

// told waits until the exporters have logged something after a time.
func (c *court) told(after time.Time, what string, trials ...*trial) {
	c.t.Helper()
	for _, tr := range trials {
		tr.e.LoggedAfter(after, patience, what)
	}
}

// ended waits until the exporters have noticed a session's end.
func (c *court) ended(trials ...*trial) {
	c.t.Helper()
	for _, tr := range trials {
		tr.e.LoggedAfter(tr.began, patience, sessionLost, sessionEnded)
	}
}

// flows waits until data is written again on all, and tells what the
// exporters noticed, and when.
func (c *court) flows(what string) {
	c.t.Helper()
	next, back := make([]int, len(c.all)), make([]time.Duration, len(c.all))
	for i, tr := range c.all {
		next[i] = tr.feed.Given() + 1
	}
	harness.Until(c.t, what+": data on all again", func() bool {
		for i, tr := range c.all {
			if back[i] == 0 && tr.written(c.t, next[i]) {
				back[i] = time.Since(tr.began).Round(10 * time.Millisecond)
			}
		}
		return !slices.Contains(back, 0)
	})
	for i, tr := range c.all {
		c.t.Logf("%s, %s: %sdata again after %v", tr.scheme, what, tr.noticed(), back[i])
	}
}

// loseAddress cuts the way to one of the collector's two addresses: to the
// sessions that is nothing.
func (c *court) loseAddress() {
	c.t.Helper()
	lost := func() (n int) { // associations; a starved process may be late with an answer
		for _, tr := range c.all {
			for _, l := range tr.e.Lines() {
				if strings.Contains(l, sessionLost) && strings.Contains(l, "association") {
					n++
				}
			}
		}
		return n
	}
	before := lost()
	for ns, dev := range map[string]string{c.n.A: "va", c.n.B: "vb"} {
		c.n.Run(ns, "tc qdisc add dev "+dev+" clsact")
		c.n.Run(ns, "tc filter add dev "+dev+" egress protocol ip u32 match ip protocol 132 0xff action drop")
	}
	c.begin()
	c.flows("one of two addresses lost")
	if now := lost(); now != before {
		c.t.Errorf("one of two addresses lost, and with it %d associations", now-before)
	}
	for ns, dev := range map[string]string{c.n.A: "va", c.n.B: "vb"} {
		c.n.Run(ns, "tc qdisc del dev "+dev+" clsact")
	}
}

// serve starts a collector.
func (tr *trial) serve(t *testing.T, n *harness.Network) {
	t.Helper()
	tr.c = startCollector(t, n, append([]string{"--listen", tr.url, "--sink", "json:" + tr.flows}, tr.with...)...)
}

// stop ends the collector in order.
func (tr *trial) stop() {
	for k, v := range tr.c.Summary() {
		tr.count[k] += v
	}
}

func (tr *trial) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := tr.c.Cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// noticed tells when after an event the exporter noticed, and what; nothing if
// the session that it befell had just been replaced.
func (tr *trial) noticed() string {
	for _, l := range tr.e.Lines() {
		if !strings.Contains(l, sessionLost) && !strings.Contains(l, sessionEnded) {
			continue
		}
		var entry struct {
			Time       time.Time
			Msg, Error string
		}
		if json.Unmarshal([]byte(l), &entry) == nil && entry.Time.After(tr.began) {
			return fmt.Sprintf("noticed after %v (%s), ", entry.Time.Sub(tr.began).Round(time.Millisecond), cmp.Or(entry.Error, entry.Msg))
		}
	}
	return ""
}

// written tells whether a record is in a file.
func (tr *trial) written(t *testing.T, number int) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tr.flows, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if tr.read == nil {
		tr.read, tr.have = map[string]int64{}, make(harness.Tally, mostRecords)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue // it has another name by now
		}
		raw, err := io.ReadAll(io.NewSectionReader(f, tr.read[name], math.MaxInt64-tr.read[name]))
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		whole := raw[:bytes.LastIndexByte(raw, '\n')+1]
		tr.have.Lines(t, whole)
		tr.read[name] += int64(len(whole))
	}
	return tr.have[number] > 0
}

// abortPause is how long the exporter has to notice, before the next ABORT
// would hit the handshake of a session that replaces the one aborted.
const abortPause = 3 * time.Second

// forgery is what sends a trial's collector ABORTs in its exporter's name.
type forgery struct {
	*trial
	send func(packet []byte) error
	last time.Time // of the last ABORT
	done bool      // its exporter has noticed
}

// abort sends the collectors' host ABORTs as if they were the exporters', until
// each has hit a session that is in use.
func (c *court) abort() {
	c.t.Helper()
	var ring *capture.Ring
	var err error
	c.n.Inside(c.n.B, func() { ring, err = capture.Live("vb", capture.LiveConfig{}) })
	if err != nil {
		c.t.Fatal(err)
	}
	defer ring.Close()
	var open []*forgery
	for _, tr := range c.all {
		f := &forgery{trial: tr, send: tr.sender(c.t, c.n)}
		tr.began = time.Time{}
		open = append(open, f)
	}
	ring.SetReadDeadline(time.Now().Add(2 * patience))
	for len(open) > 0 {
		p, err := ring.Next()
		if err != nil {
			c.t.Fatalf("%s and %d more: nothing to abort: %v", open[0].scheme, len(open)-1, err)
		}
		for _, f := range open {
			if err := f.take(p); err != nil {
				c.t.Fatal(err)
			}
		}
		open = slices.DeleteFunc(open, func(f *forgery) bool { return f.done })
	}
}

// sender sends packets of the exporter's host.
func (tr *trial) sender(t *testing.T, n *harness.Network) func(packet []byte) error {
	t.Helper()
	var fd int
	var err error
	n.Inside(n.A, func() {
		if tr.udp == 0 {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_SCTP)
		} else {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	to := address("192.0.2.2", tr.udp)
	return func(b []byte) error {
		return unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Port: int(tr.udp), Addr: to.Addr().As4()})
	}
}

// take looks at a packet, and aborts the association that it is of.
func (f *forgery) take(p capture.Packet) error {
	from, tag, ok := f.data(p.Data)
	if !ok {
		return nil
	}
	if f.done = !f.began.IsZero() && f.noticed() != ""; f.done || time.Unix(0, p.Time).Before(f.last.Add(abortPause)) {
		return nil
	}
	f.last = time.Now()
	if f.began.IsZero() {
		f.began = f.last
	}
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, f.port)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0, 6, 0, 0, 4)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return f.send(b)
}

// records is the least size of a packet that cannot but bring some.
const records = 1200

// data finds the port and the tag of a packet that brings the collector
// records: its session is the one in use.
func (tr *trial) data(frame []byte) (from uint16, tag uint32, ok bool) {
	if len(frame) < records {
		return 0, 0, false
	}
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if tr.udp != 0 {
		outer, _ := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if outer == nil || uint16(outer.DstPort) != tr.udp {
			return 0, 0, false
		}
		packet = gopacket.NewPacket(outer.Payload, layers.LayerTypeSCTP, gopacket.NoCopy)
	}
	head, _ := packet.Layer(layers.LayerTypeSCTP).(*layers.SCTP)
	if head == nil || uint16(head.DstPort) != tr.port || packet.Layer(layers.LayerTypeSCTPData) == nil {
		return 0, 0, false
	}
	return uint16(head.SrcPort), head.VerificationTag, true
}

// end ends both and counts the records.
func (tr *trial) end(t *testing.T) {
	t.Helper()
	given := tr.feed.End()
	tr.e.EndInput()
	sum := tr.e.Summary(time.Minute)
	tr.stop()
	tally := harness.Written(t, given, tr.flows)
	t.Logf("%s: %d records, %d missing, %d twice (%v replayed); %v rotations, longest gap %v µs, %v collectors lost",
		tr.scheme, given, tally.Missing(), tally.Again(), sum["records_replayed"], sum["rotations"], sum["max_swap_gap_us"], sum["collectors_lost"])
	if tally.Missing() > 0 || float64(tally.Again()) > sum["records_replayed"] || sum["records_dropped"] != 0 || sum["records_sent"] != float64(given) || sum["rotations"] < 3 {
		t.Errorf("%s: %d of %d records are missing, %d twice: %v", tr.scheme, tally.Missing(), given, tally.Again(), sum)
		if first := slices.Index(tally[1:], 0); first >= 0 {
			t.Logf("the first one is %d", first+1)
		}
	}
	if tr.count["data_before_template"] != 0 || tr.count["records_undecodable"] != 0 {
		t.Errorf("%s: collectors %v", tr.scheme, tr.count)
	}
}
