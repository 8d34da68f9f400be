// Package workload makes the synthetic but realistic IPFIX messages that the
// benchmarks and tests of the suite share: T20, a biflow template of 20 fields
// with an enterprise element and one of variable length; T12, 12 fields of
// fixed length; Mix50, 50 templates of 8 to 22 fields, at most 4 records a set.
// The octets are made here by hand, not by package ipfix, so that they can
// judge it; the same seed gives the same octets every time.
package workload

import (
	"encoding/binary"
	"math/rand"
)

// Variable as a length: the length stands in front of each value.
const Variable = 65535

// A Field is a field specifier.
type Field struct {
	PEN    uint32
	Num    uint16
	Length uint16
}

// A Template is a template record.
type Template struct {
	ID     uint16
	Fields []Field
}

// A Workload is one message of templates and many of data.
type Workload struct {
	Name      string
	Templates []Template
	Setup     []byte   // the message with all templates
	Messages  [][]byte // of data
	Counts    []int    // records of each of Messages
	Records   int      // of all Messages
	Octets    int      // of all Messages
}

const (
	exportTime = 1790000000
	maxMessage = 1400
	reverse    = 29305 // RFC 5103
	// Enterprise is the PEN of the one enterprise element (number 100, 4
	// octets): that reserved for documentation.
	Enterprise = 32473
)

var t20 = []Field{
	{0, 8, 4}, {0, 12, 4}, {0, 7, 2}, {0, 11, 2}, {0, 4, 1},
	{0, 1, 8}, {0, 2, 8}, {0, 152, 8}, {0, 153, 8}, {0, 6, 2},
	{0, 10, 4}, {0, 14, 4}, {0, 5, 1}, {0, 136, 1}, {0, 58, 2},
	{reverse, 1, 8}, {reverse, 2, 8}, {reverse, 6, 2}, {Enterprise, 100, 4}, {0, 96, Variable},
}

var extra = []Field{
	{0, 27, 16}, {0, 28, 16}, {0, 16, 4}, {0, 17, 4}, {0, 61, 1}, {0, 15, 4},
	{0, 56, 6}, {0, 80, 6}, {0, 82, Variable}, {0, 1, 4}, {0, 2, 4}, {0, 234, 4},
	{0, 235, 4}, {0, 225, 4}, {0, 226, 4}, {0, 148, 8},
}

// T20 has n messages of the 20-field biflow template.
func T20(n int) *Workload { return make1("T20", []Template{{300, t20}}, n, 0) }

// T12 has n messages of the first 12 fields of T20, all fixed.
func T12(n int) *Workload { return make1("T12", []Template{{301, t20[:12]}}, n, 0) }

// Mix50 has n messages of 50 templates.
func Mix50(n int) *Workload {
	r := rand.New(rand.NewSource(50))
	pool := append(append([]Field(nil), t20...), extra...)
	ts := make([]Template, 0, 50)
	for i := range 50 {
		t := Template{ID: uint16(400 + i)}
		for _, j := range r.Perm(len(pool))[:8+r.Intn(15)] {
			t.Fields = append(t.Fields, pool[j])
		}
		ts = append(ts, t)
	}
	return make1("Mix50", ts, n, 4)
}

// All is the three workloads, n messages each.
func All(n int) []*Workload { return []*Workload{T20(n), T12(n), Mix50(n)} }

func make1(name string, ts []Template, n, perSet int) *Workload {
	w := &Workload{Name: name, Templates: ts, Setup: setup(ts)}
	r := rand.New(rand.NewSource(int64(len(ts))))
	for range n {
		m, k := message(ts, r, perSet, uint32(w.Records))
		w.Messages = append(w.Messages, m)
		w.Counts = append(w.Counts, k)
		w.Records += k
		w.Octets += len(m)
	}
	return w
}

func header(seq uint32) []byte {
	b := []byte{0, 10, 0, 0}
	b = binary.BigEndian.AppendUint32(b, exportTime)
	b = binary.BigEndian.AppendUint32(b, seq)
	return binary.BigEndian.AppendUint32(b, 1)
}

func setup(ts []Template) []byte {
	b := header(0)
	set := len(b)
	b = append(b, 0, 2, 0, 0)
	for _, t := range ts {
		b = binary.BigEndian.AppendUint16(b, t.ID)
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.Fields)))
		for _, f := range t.Fields {
			if f.PEN == 0 {
				b = binary.BigEndian.AppendUint16(b, f.Num)
				b = binary.BigEndian.AppendUint16(b, f.Length)
				continue
			}
			b = binary.BigEndian.AppendUint16(b, f.Num|0x8000)
			b = binary.BigEndian.AppendUint16(b, f.Length)
			b = binary.BigEndian.AppendUint32(b, f.PEN)
		}
	}
	binary.BigEndian.PutUint16(b[set+2:], uint16(len(b)-set))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// message fills one message with sets of random templates; perSet limits the
// records of a set, 0 does not.
func message(ts []Template, r *rand.Rand, perSet int, seq uint32) ([]byte, int) {
	b := header(seq)
	n := 0
	for full := false; !full; {
		t := &ts[r.Intn(len(ts))]
		set := len(b)
		b = binary.BigEndian.AppendUint16(b, t.ID)
		b = append(b, 0, 0)
		k := 0
		for perSet == 0 || k < perSet {
			p := len(b)
			b = record(b, t, r)
			if len(b) > maxMessage {
				b, full = b[:p], true
				break
			}
			k++
		}
		if k == 0 {
			b = b[:set]
			break
		}
		binary.BigEndian.PutUint16(b[set+2:], uint16(len(b)-set))
		n += k
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b, n
}

func record(b []byte, t *Template, r *rand.Rand) []byte {
	apps := [...]string{"dns", "https", "http", "ssh", "quic", "ntp", "smtp-submission", "bittorrent",
		"netflix-video", "google-services", "ms-teams", "unknown"}
	for _, f := range t.Fields {
		switch iana := f.PEN == 0; {
		case f.Length == Variable:
			s := apps[r.Intn(len(apps))]
			b = append(b, byte(len(s)))
			b = append(b, s...)
		case iana && (f.Num == 152 || f.Num == 153):
			b = binary.BigEndian.AppendUint64(b, exportTime*1000+uint64(r.Intn(100000)))
		case iana && (f.Num == 8 || f.Num == 12 || f.Num == 15):
			b = append(b, 10, byte(r.Intn(256)), byte(r.Intn(256)), byte(r.Intn(256)))
		case iana && f.Num == 4:
			b = append(b, [...]byte{6, 17, 6, 6, 1}[r.Intn(5)])
		case f.Length == 8:
			b = binary.BigEndian.AppendUint64(b, uint64(r.ExpFloat64()*20000)+40)
		case f.Length == 16:
			b = append(b, 0x20, 0x01, 0x0d, 0xb8, 0, byte(r.Intn(256)), 0, 0, 0, 0, 0, 0, 0, 0,
				byte(r.Intn(256)), byte(r.Intn(256)))
		case f.Length == 4:
			b = binary.BigEndian.AppendUint32(b, uint32(r.Intn(500)))
		case f.Length == 2:
			b = binary.BigEndian.AppendUint16(b, uint16(r.Intn(65536)))
		default:
			for range int(f.Length) {
				b = append(b, byte(r.Intn(256)))
			}
		}
	}
	return b
}
