package main

import (
	"encoding/binary"
	"errors"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/test/workload"
)

// sink keeps the compiler from dropping work.
var sink uint64

// A collector is the least that a decoder needs around package ipfix: the
// templates of one domain, found by id without hashing.
type collector struct {
	templates [1024]*ipfix.Template
	sets      ipfix.SetReader
	records   ipfix.Records
}

func newCollector(w *workload.Workload) (*collector, error) {
	c := new(collector)
	for s, err := range ipfix.Sets(w.Setup) {
		if err != nil {
			return nil, err
		}
		for rec, err := range ipfix.ParseTemplates(s.ID, s.Body) {
			if err != nil {
				return nil, err
			}
			t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
			if err != nil {
				return nil, err
			}
			c.templates[t.ID&1023] = t
		}
	}
	return c, nil
}

// each hands the data sets of all messages to f, which returns how many records
// it read.
func (c *collector) each(w *workload.Workload, f func(r *ipfix.Records, t *ipfix.Template, s ipfix.Set, h ipfix.Header) int) (int, error) {
	total := 0
	for _, m := range w.Messages {
		h, err := ipfix.ParseHeader(m)
		if err != nil {
			return total, err
		}
		c.sets.Reset(m)
		for s, ok := c.sets.Next(); ok; s, ok = c.sets.Next() {
			t := c.templates[s.ID&1023]
			if t == nil || t.ID != s.ID {
				return total, errors.New("no template")
			}
			c.records.Reset(t, s.Body)
			total += f(&c.records, t, s, h)
			if err := c.records.Err(); err != nil {
				return total, err
			}
		}
		if err := c.sets.Err(); err != nil {
			return total, err
		}
	}
	return total, nil
}

func (c *collector) decoders(w *workload.Workload) []contender {
	var (
		views  = make([][]byte, 0, 64)
		values = make([]ipfix.Value, 0, 64)
		cols   ipfix.Columns
		enc    record.Encoder
		meta   = record.Meta{Exporter: "192.0.2.1", Session: 1, Domain: 1}
		line   = make([]byte, 0, 1<<18)
	)
	run := func(f func(r *ipfix.Records, t *ipfix.Template, s ipfix.Set, h ipfix.Header) int) func() (int, error) {
		return func() (int, error) { return c.each(w, f) }
	}
	return []contender{
		{"locate", run(func(r *ipfix.Records, _ *ipfix.Template, _ ipfix.Set, _ ipfix.Header) (n int) {
			for r.Next() {
				n++
			}
			return n
		})},
		{"views", run(func(r *ipfix.Records, _ *ipfix.Template, _ ipfix.Set, _ ipfix.Header) (n int) {
			for ; r.Next(); n++ {
				views = r.Views(views)
			}
			return n
		})},
		{"typed values", run(func(r *ipfix.Records, _ *ipfix.Template, _ ipfix.Set, _ ipfix.Header) (n int) {
			for ; r.Next(); n++ {
				values = r.Values(values)
				sink += values[0].Num
			}
			return n
		})},
		{"columns", run(func(r *ipfix.Records, _ *ipfix.Template, _ ipfix.Set, _ ipfix.Header) int {
			return r.Columns(&cols)
		})},
		{"JSON", run(func(_ *ipfix.Records, t *ipfix.Template, s ipfix.Set, h ipfix.Header) int {
			if len(line) > 1<<17 {
				line = line[:0]
			}
			meta.ExportTime = h.ExportTime
			n, err := ipfix.CountRecords(t, s.Body)
			if err != nil {
				return 0
			}
			b := record.Batch{Meta: &meta, Template: t, Body: s.Body, Records: n}
			line, n, _ = enc.AppendBatch(line, &b)
			return n
		})},
	}
}

// encoders encode the first records of w again: by plan from values, and, for
// T20, by straight-line code from a struct.
func (c *collector) encoders(w *workload.Workload) ([]contender, error) {
	type row struct {
		t    *ipfix.Template
		vals []ipfix.Value
	}
	var rows []row
	var flows []flow
	_, err := c.each(w, func(r *ipfix.Records, t *ipfix.Template, _ ipfix.Set, _ ipfix.Header) (n int) {
		for ; r.Next(); n++ {
			rows = append(rows, row{t, r.Values(nil)})
			if w.Name == "T20" {
				var f flow
				f.decode(r.Raw())
				flows = append(flows, f)
			}
		}
		return n
	})
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 0, 2048)
	plan := func(rows []row) func() (int, error) {
		return func() (int, error) {
			for i := range rows {
				if len(buf) > 1200 {
					buf = buf[:0]
				}
				var err error
				if buf, err = rows[i].t.AppendRecord(buf, rows[i].vals); err != nil {
					return i, err
				}
			}
			return len(rows), nil
		}
	}
	// An exporter encodes what it has just made, from the nearest cache, and
	// libfixbuf has one struct to encode; 500 rows are the worse case.
	cs := []contender{
		{"encode by plan", plan(rows[:16])},
		{"encode by plan, 500 rows", plan(rows[:500])},
	}
	if len(flows) == 0 {
		return cs, nil
	}
	flows = flows[:16]
	var f flow
	return append(cs,
		contender{"encode, straight-line", func() (int, error) {
			for i := range flows {
				if len(buf) > 1200 {
					buf = buf[:0]
				}
				buf = flows[i].append(buf)
			}
			return len(flows), nil
		}},
		contender{"decode, straight-line", func() (int, error) {
			n := 0
			for _, m := range w.Messages {
				for b := m[ipfix.HeaderLen+ipfix.SetHeaderLen:]; len(b) >= flowFixed; n++ {
					b = b[f.decode(b):]
					sink += f.octets
				}
			}
			return n, nil
		}}), nil
}

// A flow is a record of T20 as a program holds it whose template never changes,
// such as a metering process: its encoder is straight-line code.
type flow struct {
	octets, packets, start, end, rOctets, rPackets uint64
	src, dst, in, out, own                         uint32
	srcPort, dstPort, flags, vlan, rFlags          uint16
	proto, tos, reason                             uint8
	app                                            []byte // below 255 octets
}

// flowFixed is the octets of a record without the text.
const flowFixed = 82

func (f *flow) append(dst []byte) []byte {
	n := len(dst)
	if cap(dst)-n < flowFixed+len(f.app) {
		dst = append(dst, make([]byte, flowFixed+len(f.app))...)
	}
	dst = dst[:n+flowFixed+len(f.app)]
	b := dst[n:]
	_ = b[flowFixed-1]
	binary.BigEndian.PutUint32(b, f.src)
	binary.BigEndian.PutUint32(b[4:], f.dst)
	binary.BigEndian.PutUint16(b[8:], f.srcPort)
	binary.BigEndian.PutUint16(b[10:], f.dstPort)
	b[12] = f.proto
	binary.BigEndian.PutUint64(b[13:], f.octets)
	binary.BigEndian.PutUint64(b[21:], f.packets)
	binary.BigEndian.PutUint64(b[29:], f.start)
	binary.BigEndian.PutUint64(b[37:], f.end)
	binary.BigEndian.PutUint16(b[45:], f.flags)
	binary.BigEndian.PutUint32(b[47:], f.in)
	binary.BigEndian.PutUint32(b[51:], f.out)
	b[55] = f.tos
	b[56] = f.reason
	binary.BigEndian.PutUint16(b[57:], f.vlan)
	binary.BigEndian.PutUint64(b[59:], f.rOctets)
	binary.BigEndian.PutUint64(b[67:], f.rPackets)
	binary.BigEndian.PutUint16(b[75:], f.rFlags)
	binary.BigEndian.PutUint32(b[77:], f.own)
	b[81] = byte(len(f.app))
	copy(b[flowFixed:], f.app)
	return dst
}

func (f *flow) decode(b []byte) int {
	_ = b[flowFixed-1]
	f.src = binary.BigEndian.Uint32(b)
	f.dst = binary.BigEndian.Uint32(b[4:])
	f.srcPort = binary.BigEndian.Uint16(b[8:])
	f.dstPort = binary.BigEndian.Uint16(b[10:])
	f.proto = b[12]
	f.octets = binary.BigEndian.Uint64(b[13:])
	f.packets = binary.BigEndian.Uint64(b[21:])
	f.start = binary.BigEndian.Uint64(b[29:])
	f.end = binary.BigEndian.Uint64(b[37:])
	f.flags = binary.BigEndian.Uint16(b[45:])
	f.in = binary.BigEndian.Uint32(b[47:])
	f.out = binary.BigEndian.Uint32(b[51:])
	f.tos = b[55]
	f.reason = b[56]
	f.vlan = binary.BigEndian.Uint16(b[57:])
	f.rOctets = binary.BigEndian.Uint64(b[59:])
	f.rPackets = binary.BigEndian.Uint64(b[67:])
	f.rFlags = binary.BigEndian.Uint16(b[75:])
	f.own = binary.BigEndian.Uint32(b[77:])
	n := flowFixed + int(b[81])
	f.app = b[flowFixed:n]
	return n
}
