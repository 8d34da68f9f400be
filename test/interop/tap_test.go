package interop

import (
	"bytes"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"ipfixsuite/test/harness"
)

// tap passes TCP connections on to a server, remembers what went over each, and
// can cut them.
type tap struct {
	addr string

	t     *testing.T
	to    string
	mu    sync.Mutex
	conns []*tapped
}

type tapped struct {
	mu     sync.Mutex
	chunks []chunk
	ends   [2]net.Conn
}

type chunk struct {
	up     bool // to the server
	passed bool // on, to the other end
	b      []byte
}

func newTap(t *testing.T, to string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: l.Addr().String(), t: t, to: to}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		p.cut()
		wg.Wait()
	})
	wg.Go(func() { // ended by l.Close
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				c.Close() // there is no server yet
				continue
			}
			tc := &tapped{ends: [2]net.Conn{c, s}}
			p.mu.Lock()
			p.conns = append(p.conns, tc)
			p.mu.Unlock()
			wg.Go(func() { tc.pass(c, s, true) })  // ended by either end, or cut
			wg.Go(func() { tc.pass(s, c, false) }) // likewise
		}
	})
	return p
}

func (c *tapped) pass(from, to net.Conn, up bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			c.mu.Lock()
			i := len(c.chunks)
			c.chunks = append(c.chunks, chunk{up: up, b: bytes.Clone(buf[:n])})
			c.mu.Unlock()
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
			c.mu.Lock()
			c.chunks[i].passed = true
			c.mu.Unlock()
		}
		if err != nil {
			break
		}
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

// ticketed tells whether the first client has got what its server says after
// the handshake's last flight of the client's: a ticket to resume it with.
func (p *tap) ticketed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.conns) == 0 {
		return false
	}
	c := p.conns[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	flights := 0
	for _, k := range c.chunks {
		if k.up {
			flights++
		} else if flights > 1 && k.passed {
			return true
		}
	}
	return false
}

// cut ends the connections there are, as a network that fails does.
func (p *tap) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		for _, e := range c.ends {
			_ = e.(*net.TCPConn).SetLinger(0)
			e.Close()
		}
	}
}

// decrypted is what the client sent on each connection, for tshark with its
// keys.
func (p *tap) decrypted(keylog string) (streams [][]byte) {
	p.t.Helper()
	tshark := harness.Tool(p.t, "tshark")
	file := filepath.Join(p.t.TempDir(), "tap.pcap")
	p.capture(file)
	for i := range p.conns {
		out := harness.Run(p.t, tshark, "-r", file, "-o", "tls.keylog_file:"+keylog, "-q", "-z", "follow,tls,raw,"+strconv.Itoa(i))
		// What the one sent that spoke second stands behind a tabulator.
		second := strings.Contains(string(out), "Node 0: 192.0.2.2:")
		var got []byte
		for line := range strings.Lines(string(out)) {
			b, err := hex.DecodeString(strings.TrimSpace(line))
			if err == nil && strings.HasPrefix(line, "\t") == second {
				got = append(got, b...)
			}
		}
		streams = append(streams, got)
	}
	return streams
}

// capture writes the connections as packets.
func (p *tap) capture(file string) {
	p.t.Helper()
	f, err := os.Create(file)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(1<<17, layers.LinkTypeRaw); err != nil {
		p.t.Fatal(err)
	}
	at := time.Unix(1793696887, 0)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.conns {
		seq := map[bool]uint32{true: 1000, false: 5000}
		put := func(up bool, flags func(*layers.TCP), payload []byte) {
			ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
			tcp := &layers.TCP{SrcPort: layers.TCPPort(50000 + i), DstPort: 4740, Seq: seq[up], Ack: seq[!up], ACK: true, Window: 65535}
			if !up {
				ip.SrcIP, ip.DstIP = ip.DstIP, ip.SrcIP
				tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
			}
			if flags != nil {
				flags(tcp)
				seq[up]++
			}
			seq[up] += uint32(len(payload))
			_ = tcp.SetNetworkLayerForChecksum(ip)
			b := gopacket.NewSerializeBuffer()
			if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, tcp, gopacket.Payload(payload)); err != nil {
				p.t.Fatal(err)
			}
			at = at.Add(time.Millisecond)
			if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()); err != nil {
				p.t.Fatal(err)
			}
		}
		put(true, func(t *layers.TCP) { t.SYN, t.ACK = true, false }, nil)
		put(false, func(t *layers.TCP) { t.SYN = true }, nil)
		c.mu.Lock()
		for _, k := range c.chunks {
			for b := k.b; len(b) > 0; { // as large as an Ethernet takes
				n := min(len(b), 1400)
				put(k.up, nil, b[:n])
				b = b[n:]
			}
		}
		c.mu.Unlock()
		put(true, func(t *layers.TCP) { t.FIN = true }, nil)
		put(false, func(t *layers.TCP) { t.FIN = true }, nil)
	}
}

// connect waits until a server takes connections.
func connect(t *testing.T, addr string) {
	t.Helper()
	harness.Until(t, "a server at "+addr, func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}
