package rotation

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// A link is a path that loses, delays and reorders datagrams, where no kernel
// does it for the test. Each session of the exporter, which has a port of its
// own, gets one at the far side.
type link struct {
	near   *net.UDPConn
	far    *net.UDPAddr
	loss   float64
	delay  time.Duration
	jitter time.Duration

	mu            sync.Mutex
	rng           *rand.Rand
	flows         map[string]*net.UDPConn
	sent, dropped int // towards the collector
	closed        bool
	wg            sync.WaitGroup
}

func newLink(t *testing.T, far string) *link {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp4", far)
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = near.SetReadBuffer(4 << 20)
	l := &link{near: near, far: addr, rng: rand.New(rand.NewPCG(2, 2)), flows: map[string]*net.UDPConn{}}
	l.wg.Go(l.forth) // ended by the close of near
	t.Cleanup(func() {
		l.mu.Lock()
		l.closed = true
		near.Close()
		for _, c := range l.flows {
			c.Close()
		}
		l.mu.Unlock()
		l.wg.Wait()
	})
	return l
}

func (l *link) addr() string { return l.near.LocalAddr().String() }

func (l *link) forth() {
	buf := make([]byte, 65536)
	for {
		n, from, err := l.near.ReadFromUDP(buf)
		if err != nil {
			return
		}
		l.mu.Lock()
		c := l.flows[from.String()]
		if c == nil && !l.closed {
			if c, err = net.DialUDP("udp4", nil, l.far); err == nil {
				l.flows[from.String()] = c
				l.wg.Go(func() { l.back(c, from) }) // ended by the close of c
			}
		}
		l.sent++
		if !l.pass(append([]byte(nil), buf[:n]...), func(b []byte) { _, _ = c.Write(b) }) {
			l.dropped++
		}
		l.mu.Unlock()
	}
}

func (l *link) back(c *net.UDPConn, to *net.UDPAddr) {
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if err != nil {
			if l.over() {
				return
			}
			time.Sleep(time.Millisecond) // unreachable, at times
			continue
		}
		l.mu.Lock()
		l.pass(append([]byte(nil), buf[:n]...), func(b []byte) { _, _ = l.near.WriteToUDP(b, to) })
		l.mu.Unlock()
	}
}

func (l *link) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// pass delivers a datagram after a while, or never. l.mu is held.
func (l *link) pass(b []byte, write func([]byte)) bool {
	if l.rng.Float64() < l.loss {
		return false
	}
	d := l.delay + time.Duration(l.rng.Float64()*float64(l.jitter))
	time.AfterFunc(d, func() { write(b) })
	return true
}

// A session a second over a path of 20 ms that loses 2 % and reorders: what is
// missing is what the path lost, and the collector knows how much it is.
func TestRotation_LossyPath(t *testing.T) {
	const rate = 5000
	d := long(t, 8*time.Second)
	n := int(d.Seconds() * rate)
	pki := harness.NewPKI(t, "collector", "exporter")
	flows := filepath.Join(t.TempDir(), "flows")
	c := harness.StartCollector(t, append([]string{"--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
	l := newLink(t, c.Addr)
	l.loss, l.delay, l.jitter = 0.02, 20*time.Millisecond, 5*time.Millisecond
	summary := filepath.Join(t.TempDir(), "exporter.json")
	e := harness.Start(t, harness.Binary(t, "exporter"), append([]string{"run", "--summary", summary, "--source", "json:" + numbered(t, n), "--to", "dtls+udp://" + l.addr(),
		"--rotate", "1s", "--full-handshake-every", "5", "--mtu", "1280", "--max-rate", fmt.Sprint(rate)}, pki.Flags("exporter")...)...)
	e.EndWithin(d + time.Minute)
	sum := harness.ReadSummary(t, summary)
	got := c.Summary()
	missing, again := written(t, n, flows)
	l.mu.Lock()
	path := float64(l.dropped) / float64(l.sent)
	l.mu.Unlock()
	t.Logf("%v rotations, %v sessions (%v resumed), longest gap %v µs; the path lost %.2f %% of the datagrams, %.2f %% of the records are missing, collector says %v, %d twice, %v collectors lost",
		sum["rotations"], sum["sessions_opened"], sum["sessions_resumed"], sum["max_swap_gap_us"], 100*path, 100*float64(missing)/float64(n), got["records_lost"], again, sum["collectors_lost"])
	if lost := float64(missing) / float64(n); lost > 1.5*path+0.005 {
		t.Errorf("%.4f of the records missing, %.4f of the datagrams", lost, path)
	}
	if again == 0 && got["records_lost"] < float64(missing)*0.95 {
		t.Errorf("%d records missing, the collector knows of %v", missing, got["records_lost"])
	}
	if sum["rotations"] < d.Seconds()*0.5 || sum["collectors_lost"] != 0 || sum["max_swap_gap_us"] > 5000 || float64(again) > sum["records_replayed"] {
		t.Errorf("exporter %v", sum)
	}
	if got["records_undecodable"] != 0 {
		t.Errorf("collector %v", got)
	}
}
