package metering

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	fin = 0x01
	syn = 0x02
	rst = 0x04
	ack = 0x10
)

func play(m *Meter, at float64, frame []byte) {
	m.Packet(int64(at*1e9), LinkEthernet, frame, len(frame), 3)
}

// TestBiflow_RFC5103_5_1: both ways make one record whose source began it.
func TestBiflow_RFC5103_5_1(t *testing.T) {
	m, recs := collect(t, Config{Biflow: true})
	play(m, 100, tcp4(9, 1, 4000, 80, syn))
	play(m, 100.1, tcp4(1, 9, 80, 4000, syn|ack))
	play(m, 100.2, tcp4(9, 1, 4000, 80, ack))
	play(m, 100.3, tcp4(9, 1, 4000, 80, fin|ack))
	play(m, 100.4, tcp4(1, 9, 80, 4000, fin|ack))
	play(m, 100.5, tcp4(9, 1, 4000, 80, ack))
	m.Advance(102 * second)
	want := []got{{
		Src: "192.0.2.9", Dst: "192.0.2.1", Sport: 4000, Dport: 80, Proto: 6, Interface: 3, Reason: EndOfFlow,
		Fwd:  Counters{Packets: 4, Octets: 160, First: 100 * second, Last: 1005 * second / 10, TCPFlags: fin | syn | ack, TOS: 0x10},
		Rev:  Counters{Packets: 2, Octets: 80, First: 1001 * second / 10, Last: 1004 * second / 10, TCPFlags: fin | syn | ack, TOS: 0x10},
		Kind: KindBiflow, RecordDecodeOK: true,
	}}
	if d := cmp.Diff(want, *recs); d != "" {
		t.Error(d)
	}
}

// TestBiflow_AnswerSeenFirst: a SYN+ACK or an echo reply comes from the
// responder although it was seen first.
func TestBiflow_AnswerSeenFirst(t *testing.T) {
	m, recs := collect(t, Config{Biflow: true})
	play(m, 1, tcp4(1, 9, 80, 4000, syn|ack))
	play(m, 1.1, tcp4(9, 1, 4000, 80, ack))
	m.Flush()
	if r := (*recs)[0]; r.Src != "192.0.2.9" || r.Dport != 80 || r.Fwd.Packets != 1 || r.Rev.Packets != 1 {
		t.Errorf("%+v", r)
	}
}

// TestBiflow_OneWay_RFC5103_4: without a way back the record has no reverse
// elements; if only the responder was seen, it is a uniflow from there.
func TestBiflow_OneWay_RFC5103_4(t *testing.T) {
	m, recs := collect(t, Config{Biflow: true})
	play(m, 1, tcp4(1, 9, 80, 4000, syn|ack))
	m.Flush()
	if r := (*recs)[0]; r.Src != "192.0.2.1" || r.Sport != 80 || r.Kind != 0 || r.Fwd.Packets != 1 || !r.RecordDecodeOK {
		t.Errorf("%+v", r)
	}
}

func icmp4(a, b, typ byte) []byte {
	return []byte{
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00,
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, a, 192, 0, 2, b, typ, 0, 0, 0, 0, 1, 0, 1,
	}
}

// TestBiflow_Ping: request and reply are one flow; pings of both ends at the
// same time are two.
func TestBiflow_Ping(t *testing.T) {
	m, recs := collect(t, Config{Biflow: true})
	play(m, 1, icmp4(9, 1, 8))
	play(m, 1.1, icmp4(1, 9, 0))
	play(m, 1.2, icmp4(1, 9, 8))
	play(m, 1.3, icmp4(9, 1, 0))
	play(m, 1.4, icmp4(5, 1, 0)) // an answer alone
	m.Flush()
	type row struct {
		Src        string
		Type       uint16
		Fwd, Rev   uint64
		Kind       TemplateKind
		LengthGood bool
	}
	var rows []row
	for _, r := range *recs {
		rows = append(rows, row{r.Src, r.Dport, r.Fwd.Packets, r.Rev.Packets, r.Kind, r.RecordDecodeOK})
	}
	want := []row{
		{"192.0.2.9", 0x800, 1, 1, KindICMP | KindBiflow, true},
		{"192.0.2.1", 0x800, 1, 1, KindICMP | KindBiflow, true},
		{"192.0.2.5", 0, 1, 0, KindICMP, true},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
}

type brief struct {
	At, Until float64
	Packets   uint64
	Reason    EndReason
}

func briefs(recs []got) []brief {
	var out []brief
	for _, r := range recs {
		out = append(out, brief{float64(r.Fwd.First) / 1e9, float64(r.Fwd.Last) / 1e9, r.Fwd.Packets, r.Reason})
	}
	return out
}

// TestTimeouts_RFC5470_5_1_1: each row plays one flow's packets at the given
// times (negative: with FIN) and then lets time pass or flushes.
func TestTimeouts_RFC5470_5_1_1(t *testing.T) {
	cfg := Config{ActiveTimeout: 20 * time.Second, IdleTimeout: 10 * time.Second, EndTimeout: time.Second}
	for _, row := range []struct {
		name  string
		at    []float64
		flags byte
		then  float64 // 0: flush
		want  []brief
	}{
		{"idle", []float64{100, 105}, ack, 120, []brief{{100, 105, 2, IdleTimeout}}},
		{"not yet idle, flushed", []float64{100, 105}, ack, 0, []brief{{100, 105, 2, ForcedEnd}}},
		{"idle between two packets", []float64{100, 110}, ack, 0, []brief{{100, 100, 1, IdleTimeout}, {110, 110, 1, ForcedEnd}}},
		{"not idle by a hair", []float64{100, 109.999}, ack, 0, []brief{{100, 109.999, 2, ForcedEnd}}},
		{"active, then goes on", []float64{100, 108, 116, 119.9, 120, 125}, ack, 200, []brief{{100, 119.9, 4, ActiveTimeout}, {120, 125, 2, IdleTimeout}}},
		{"active, then silent", []float64{100, 108, 116}, ack, 200, []brief{{100, 116, 3, ActiveTimeout}}},
		{"active and idle passed in one step of the clock", []float64{100, 108, 116, 126.01}, ack, 0, []brief{{100, 116, 3, ActiveTimeout}, {126.01, 126.01, 1, ForcedEnd}}},
		{"FIN of a uniflow", []float64{100, 100.5, 101.2}, fin | ack, 102.9, []brief{{100, 101.2, 3, EndOfFlow}}},
		{"RST, flushed", []float64{100}, rst, 0, []brief{{100, 100, 1, EndOfFlow}}},
		{"ports used again", []float64{100, 100.1}, syn | fin, 0, []brief{{100, 100, 1, EndOfFlow}, {100.1, 100.1, 1, EndOfFlow}}},
		{"out of order", []float64{100, 103, 99, 101}, ack, 120, []brief{{99, 103, 4, IdleTimeout}}},
		{"the clock is set back", []float64{1000, 100, 101}, ack, 120, []brief{{1000, 1000, 1, ForcedEnd}, {100, 101, 2, IdleTimeout}}},
		{"times beyond reason", []float64{-5, 9e9}, ack, 0, []brief{{0, 0, 1, IdleTimeout}, {float64(forever) / 1e9, float64(forever) / 1e9, 1, ForcedEnd}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, recs := collect(t, cfg)
			for _, at := range row.at {
				play(m, at, tcp4(1, 2, 1000, 80, row.flags))
			}
			if row.then != 0 {
				m.Advance(int64(row.then * 1e9))
			} else {
				m.Flush()
			}
			if d := cmp.Diff(row.want, briefs(*recs)); d != "" {
				t.Error(d)
			}
			if s := m.Stats(); s.Active != 0 || s.Records != uint64(len(row.want)) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestBiflow_ActiveTimeoutKeepsDirection: the second record of a long
// conversation has the same source, also if the responder speaks first in it.
func TestBiflow_ActiveTimeoutKeepsDirection(t *testing.T) {
	m, recs := collect(t, Config{Biflow: true, ActiveTimeout: 10 * time.Second})
	play(m, 100, tcp4(9, 1, 4000, 80, syn))
	play(m, 105, tcp4(1, 9, 80, 4000, syn|ack))
	play(m, 111, tcp4(1, 9, 80, 4000, ack))
	play(m, 112, tcp4(9, 1, 4000, 80, ack))
	m.Flush()
	for _, r := range *recs {
		if r.Src != "192.0.2.9" || r.Fwd.Packets != 1 || r.Rev.Packets != 1 {
			t.Errorf("%+v", r)
		}
	}
	if len(*recs) != 2 {
		t.Errorf("%d records", len(*recs))
	}
}

// TestEviction: a full table gives up the flow that would time out first, as
// flowEndReason 5, and counts it.
func TestEviction_RFC7012_LackOfResources(t *testing.T) {
	m, recs := collect(t, Config{MaxFlows: 3})
	for i := range 3 {
		play(m, 100+float64(i), tcp4(1, 2, uint16(i), 80, ack))
	}
	play(m, 103, tcp4(1, 2, 0, 80, ack)) // the oldest is alive again
	play(m, 104, tcp4(1, 2, 99, 80, ack))
	if len(*recs) != 1 || (*recs)[0].Sport != 1 || (*recs)[0].Reason != LackOfResources {
		t.Errorf("%+v", *recs)
	}
	if s := m.Stats(); s.Evicted != 1 || s.Active != 3 {
		t.Errorf("%+v", s)
	}
}

// TestFragments: later fragments get the ports and the flow of the first.
func TestFragments(t *testing.T) {
	m, recs := collect(t, Config{})
	packet := func(at int64, s string) {
		b := unhex(t, s)
		m.Packet(at*second, LinkRaw, b, len(b), 0)
	}
	const a4 = "40110000 c0000201 c0000202"
	packet(1, "4500001c abcd 2000"+a4+udp)
	packet(1, "4500001c abcd 0001"+a4+"ffffffff ffffffff")
	packet(2, "4500001c abce 0001"+a4+"ffffffff ffffffff")  // its first was not seen
	packet(40, "4500001c abcd 0001"+a4+"ffffffff ffffffff") // an old identification again
	packet(41, "60000000 0018 2c 40"+addr6+"3c 00 0001 00000abc 1100 010400000000"+udp)
	packet(41, "60000000 0010 2c 40"+addr6+"3c 00 0008 00000abc"+udp)
	m.Flush()
	type row struct {
		Sport, Dport uint16
		Proto        uint8
		Packets      uint64
	}
	var rows []row
	for _, r := range *recs {
		rows = append(rows, row{r.Sport, r.Dport, r.Proto, r.Fwd.Packets})
	}
	want := []row{{0x1234, 53, 17, 2}, {0, 0, 17, 1}, {0, 0, 17, 1}, {0x1234, 53, 17, 2}}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	if s := m.Stats(); s.Fragments != 6 || s.FragmentsUnmatched != 2 {
		t.Errorf("%+v", s)
	}
}

// TestIgnored: each packet that is not metered is counted by reason.
func TestIgnored_RFC7012_IgnoredPackets(t *testing.T) {
	m, recs := collect(t, Config{})
	play(m, 1, unhex(t, eth+"0806 0001"))
	play(m, 1, unhex(t, eth+"8100"))
	play(m, 1, unhex(t, eth+"0800 4300001c 00010000 40110000 c0000201 c0000202"))
	m.Packet(second, 189, nil, 77, 0)
	m.Packet(second, LinkRaw, unhex(t, "4500001c00000000 40110000 c0000201 c0000202"), 28, 0)
	m.Flush()
	s := m.Stats()
	if s.Ignored != [verdicts]uint64{NonIP: 1, Short: 1, Malformed: 1, UnknownLink: 1} || s.IgnoredOctets != 16+14+34+77 || s.IgnoredPackets() != 4 {
		t.Errorf("%+v", s)
	}
	if s.Packets != 5 || s.Truncated != 1 || s.Octets != 28 || len(*recs) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestKeys: interface and tags tell flows apart.
func TestKeys(t *testing.T) {
	m, recs := collect(t, Config{Biflow: true})
	tagged := func(tags string) {
		b := unhex(t, eth+tags+"0800"+ip4udp+udp)
		m.Packet(second, LinkEthernet, b, len(b), 1)
	}
	tagged("")
	tagged("8100 0001")
	tagged("8100 0000") // priority tag
	tagged("8100 0001 8100 0001")
	play(m, 1, unhex(t, eth+"0800"+ip4udp+udp))
	m.Flush()
	var kinds []TemplateKind
	for _, r := range *recs {
		kinds = append(kinds, r.Kind)
		if !r.RecordDecodeOK {
			t.Errorf("%+v: record is not as long as its template says", r)
		}
	}
	if d := cmp.Diff([]TemplateKind{0, KindVLAN, KindVLAN, KindVLAN | KindQinQ, 0}, kinds); d != "" {
		t.Error(d)
	}
}

// TestAppendRecord_Wire compares one biflow record octet by octet.
func TestAppendRecord_Wire(t *testing.T) {
	var rec []byte
	m := New(Config{Biflow: true}, func(f *Flow) { rec = f.AppendRecord(rec) })
	play(m, 1.5, tcp4(9, 1, 4000, 80, syn))
	play(m, 1.75, tcp4(1, 9, 80, 4000, rst|ack))
	m.Flush()
	want := unhex(t, `
		c0000209 c0000201 # addresses
		0fa0 0050 0002 06 10 03 00000003 # ports, control bits, protocol, ToS, reason 3, interface
		00000000000005dc 00000000000005dc 0000000000000001 0000000000000028
		01 # direction: initiator
		00000000000006d6 00000000000006d6 0000000000000001 0000000000000028 10 0014`)
	if d := cmp.Diff(want, rec); d != "" {
		t.Error(d)
	}
}

// TestSpecs: every kind makes a legal template of known elements, no two the
// same.
func TestSpecs(t *testing.T) {
	var seen []*ipfix.Template
	for _, k := range Kinds(true) {
		tpl, err := ipfix.NewTemplate(300, 0, Specs(k), ie.IANA())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tpl.Fields {
			if f.Element == nil {
				t.Errorf("kind %d: element %v is unknown", k, f.ID)
			}
		}
		if slices.ContainsFunc(seen, tpl.Equal) || tpl.RecordLen > MaxRecordLen {
			t.Errorf("kind %d: not its own, or %d octets", k, tpl.RecordLen)
		}
		seen = append(seen, tpl)
	}
	if len(seen) != 24 || len(Kinds(false)) != 12 {
		t.Errorf("%d and %d kinds", len(seen), len(Kinds(false)))
	}
}

// TestRandom compares the meter with a map, over flows that come, time out
// and are evicted: no packet is lost or counted twice, and the seed of the
// hash changes no record and no order.
func TestRandom(t *testing.T) {
	for _, cfg := range []Config{{}, {Biflow: true}, {Biflow: true, MaxFlows: 500}, {IdleTimeout: time.Second, ActiveTimeout: 3 * time.Second}} {
		var first []got
		for _, seed := range [][2]uint64{{}, {1, 2}, {^uint64(0), 0xa0761d6478bd642f}} {
			cfg.Seed = seed
			m, recs := collect(t, cfg)
			rng := rand.New(rand.NewPCG(1, 2))
			at, sent := 1000.0, map[[2]byte]uint64{}
			for range 20000 {
				at += rng.ExpFloat64() / 200
				a, b := byte(rng.IntN(40)), byte(rng.IntN(40))
				sent[[2]byte{min(a, b), max(a, b)}]++
				play(m, at-rng.Float64()/10, tcp4(a, b, uint16(rng.IntN(4)), uint16(rng.IntN(4)), byte(rng.IntN(64)&rng.IntN(64))))
			}
			m.Flush()
			var packets, want uint64
			for _, r := range *recs {
				packets += r.Fwd.Packets + r.Rev.Packets
				if r.Fwd.Packets == 0 || r.Fwd.First > r.Fwd.Last || !r.RecordDecodeOK {
					t.Fatalf("%+v", r)
				}
			}
			for _, n := range sent {
				want += n
			}
			if packets != want || m.Stats().Active != 0 {
				t.Errorf("%d packets in the records, want %d", packets, want)
			}
			if first == nil {
				first = *recs
			} else if !slices.Equal(first, *recs) {
				t.Error("another seed, other records or order")
			}
		}
	}
}

// TestNoAllocations: a packet costs none, be it of a new flow or an old one,
// nor does a record.
func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 1<<10)
	m := New(Config{Biflow: true, MaxFlows: 1000}, func(f *Flow) { buf = f.AppendRecord(buf[:0]) })
	frame := tcp4(1, 2, 1, 80, ack)
	at := 1000 * second
	step := func() {
		for i := range 3000 {
			frame[34], frame[35] = byte(i>>8), byte(i)
			at += second / 100
			m.Packet(at, LinkEthernet, frame, len(frame), 0)
		}
	}
	step()
	if n := testing.AllocsPerRun(20, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMeter(b *testing.B) {
	const flows = 100_000
	buf := make([]byte, 0, 1<<10)
	m := New(Config{Biflow: true}, func(f *Flow) { buf = f.AppendRecord(buf[:0]) })
	frame := tcp4(1, 2, 1, 80, ack)
	at, i := 1000*second, 0
	b.ReportAllocs()
	for b.Loop() {
		i = (i + 7919) % flows
		frame[26], frame[34], frame[35] = byte(i>>16), byte(i>>8), byte(i)
		at += 10_000
		m.Packet(at, LinkEthernet, frame, len(frame), 0)
	}
}
