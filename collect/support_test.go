package collect

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/transport"
)

var start = time.Unix(1_700_000_000, 0)

// unhex reads hex with spaces.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// set is a set with its header, the body in hex.
func set(id uint16, body string) []byte {
	b := unhex(body)
	h := binary.BigEndian.AppendUint16(nil, id)
	h = binary.BigEndian.AppendUint16(h, uint16(len(b)+4))
	return append(h, b...)
}

// message is a message as RFC 7011, Section 3.1, has it.
func message(domain, seq uint32, sets ...[]byte) []byte {
	var body []byte
	for _, s := range sets {
		body = append(body, s...)
	}
	b := binary.BigEndian.AppendUint16(nil, 10)
	b = binary.BigEndian.AppendUint16(b, uint16(16+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(start.Unix()))
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, domain)
	return append(b, body...)
}

// resize sets the length in the header.
func resize(b []byte, n int) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

// exported sets the Export Time, in seconds after start.
func exported(second int, b []byte) []byte {
	binary.BigEndian.PutUint32(b[4:], uint32(start.Unix())+uint32(second))
	return b
}

const (
	addresses = "0100 0002  0008 0004  000c 0004" // 256: two IPv4 addresses
	strung    = "0101 0002  0004 0001  0060 ffff" // 257: protocol, applicationName
	flow      = "c0000201 c0000202"
	flow2     = "c0000203 c0000204"
)

// A memory sink keeps what it is given.
type memory struct {
	batches []string // "domain/template: record record"
	records int
	control int
	flushes int
	err     error // of Write and Flush
	block   chan struct{}
}

func (s *memory) Write(b *record.Batch) error {
	if s.block != nil {
		<-s.block
	}
	if s.err != nil {
		return s.err
	}
	s.keep(b)
	s.records += b.Records
	return nil
}

func (s *memory) keep(b *record.Batch) {
	text := fmt.Sprintf("%d/%d:", b.Domain, b.Template.ID)
	var rs ipfix.Records
	rs.Reset(b.Template, b.Body)
	n := 0
	for rs.Next() {
		text += " " + hex.EncodeToString(rs.Raw())
		n++
	}
	if n != b.Records || rs.Err() != nil {
		text += fmt.Sprintf(" (%d records announced, %v)", b.Records, rs.Err())
	}
	s.batches = append(s.batches, text)
}

func (s *memory) Flush() error { s.flushes++; return s.err }
func (s *memory) Close() error { return s.err }

// An archive also takes control records.
type archive struct{ memory }

func (s *archive) WriteControl(b *record.Batch) error { s.keep(b); s.control += b.Records; return nil }

// discard is the cheapest sink.
type discard struct{ n uint64 }

func (s *discard) Write(b *record.Batch) error { s.n += uint64(b.Records); return nil }
func (s *discard) Flush() error                { return nil }
func (s *discard) Close() error                { return nil }

var (
	udp = transport.Properties{}
	tcp = transport.Properties{Reliable: true, Ordered: true, Stream: true}
)

func peer(name string, session uint64) transport.Peer {
	return transport.Peer{Identity: name, Session: session, Scheme: "udp", Remote: netip.MustParseAddrPort("192.0.2.1:4000")}
}

func open(t testing.TB, c *Collector, name string, session uint64, props transport.Properties) transport.Receiver {
	t.Helper()
	r, err := c.Open(peer(name, session), props)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func send(r transport.Receiver, second int, b []byte) {
	r.Message(transport.Incoming{Data: b, Received: start.Add(time.Duration(second) * time.Second)})
}

// offline is a Collector without goroutines and one session of it.
func offline(t testing.TB, cfg Config, props transport.Properties) (*Collector, *memory, transport.Receiver) {
	t.Helper()
	sink := new(memory)
	cfg.Offline, cfg.Sinks = true, []Sink{sink}
	c := New(cfg)
	return c, sink, open(t, c, "exporter", 1, props)
}

type sinkFunc func(b *record.Batch)

func (f sinkFunc) Write(b *record.Batch) error { f(b); return nil }
func (sinkFunc) Flush() error                  { return nil }
func (sinkFunc) Close() error                  { return nil }

func textLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
