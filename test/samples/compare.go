package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipfixsuite/decode"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

// A comparison is what came of one group.
type comparison struct {
	records, fields, texts int
	differences            []string
	notes                  map[string]int // what tshark shows in no comparable way
	gaveUp                 bool           // tshark did, within some packet
}

func (c *comparison) differ(format string, args ...any) {
	c.differences = append(c.differences, fmt.Sprintf(format, args...))
}

// ours is one record as decode gives it.
type ours struct {
	template   *ipfix.Template
	exportTime uint32
	values     []ipfix.Value
	raw        []byte
}

// decoded are the records of files, and what was wrong with them.
func decoded(files ...string) (recs []ours, problems []string, err error) {
	d := decode.New(decode.Config{
		Emit: func(b *record.Batch) error {
			var r ipfix.Records
			for r.Reset(b.Template, slices.Clone(b.Body)); r.Next(); {
				recs = append(recs, ours{b.Template, b.ExportTime, r.Values(nil), r.Raw()})
			}
			return r.Err()
		},
		Report: func(p decode.Problem) { problems = append(problems, p.Error()) },
	})
	for _, f := range files {
		if err := d.File(f); err != nil {
			return nil, nil, err
		}
	}
	return recs, problems, d.Close()
}

func compare(g *group) (*comparison, error) {
	c := &comparison{notes: map[string]int{}}
	got, problems, err := decoded(g.capture)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		c.notes["decode: "+p[strings.Index(p, ": ")+2:]]++
	}
	direct := got
	if len(g.files) > 0 {
		if direct, _, err = decoded(g.files...); err != nil {
			return nil, err
		}
	}
	if len(direct) != len(got) {
		c.differ("%d records from the files themselves, %d from the capture", len(direct), len(got))
	}
	for i := range min(len(direct), len(got)) {
		if string(direct[i].raw) != string(got[i].raw) {
			c.differ("record %d: %x from the file itself, %x from the capture", i, direct[i].raw, got[i].raw)
		}
	}
	want, err := dissect(g.capture)
	if err != nil {
		return nil, err
	}
	c.records = len(got)
	if len(got) != len(want) {
		if slices.ContainsFunc(want, func(w theirs) bool { return w.malformed }) {
			c.notes[fmt.Sprintf("only the first %d records are compared", len(want))]++
		} else {
			c.differ("%d records, tshark has %d", len(got), len(want))
		}
	}
	for i := range min(len(got), len(want)) {
		c.record(i, &got[i], &want[i])
	}
	return c, nil
}

// record compares one record. Its fields stand one behind the other in the
// flow that tshark shows; absolute times that were appended are checked
// against tshark's times since boot.
func (c *comparison) record(n int, o *ours, w *theirs) {
	at := 0
	var first, last uint32
	for i := range o.template.Fields {
		f, v := &o.template.Fields[i], o.values[i]
		name := f.String()
		if f.Element != nil {
			name = f.Element.Name
		}
		label := fmt.Sprintf("packet %d record %d %s", w.packet, n, name)
		if w.appended(at) {
			c.appended(label, f, v, w, first, last)
			continue
		}
		if f.Length == ipfix.VariableLength {
			at++
			if len(v.View) >= 255 || w.long(at-1) {
				at += 2
			}
		}
		at = w.skip(at)
		octets, l := w.at(at, len(v.View))
		if f.Num == 22 && f.PEN == 0 {
			first, l = uint32(v.Num), w.named("cflow.timestart", l)
		}
		if f.Num == 21 && f.PEN == 0 {
			last, l = uint32(v.Num), w.named("cflow.timeend", l)
		}
		if octets != hex.EncodeToString(v.View) {
			c.differ("%s: octets %x, tshark has %s", label, v.View, octets)
		}
		c.fields++
		if l != nil {
			c.text(label, f, v, l)
		} else if len(v.View) > 0 {
			c.notes["tshark shows no field of its own for "+name]++
		}
		at += len(v.View)
	}
	if w.malformed {
		c.gaveUp = true
		c.notes["tshark gives up within the record and on the rest of its packet: "+w.reason]++
	} else if rest := w.size - w.skip(at); rest > 0 {
		c.differ("packet %d record %d: %d octets more in tshark's", w.packet, n, rest)
	}
}

// appended checks a field that netflow made of the datagram's header and the
// times since boot, whose octets have been compared.
func (c *comparison) appended(label string, f *ipfix.Field, v ipfix.Value, w *theirs, first, last uint32) {
	c.fields++
	switch f.Num {
	case 152, 153:
		since := first
		if f.Num == 153 {
			since = last
		}
		// Before the header by up to half of the uptime's range.
		want := int64(w.seconds)*1000 + int64(w.nanoseconds/1e6) - int64(int32(w.uptime-since))
		if max(0, want) != int64(v.Num) {
			c.differ("%s: %d, want %d", label, v.Num, want)
		}
		c.texts++
	case 34, 35, 38, 39: // of the header of version 5
		want := map[uint16]uint64{34: uint64(w.sampling & 0x3FFF), 35: uint64(w.sampling >> 14), 38: uint64(w.engine >> 8), 39: uint64(w.engine & 0xFF)}[f.Num]
		if v.Num != want {
			c.differ("%s: %d, want %d", label, v.Num, want)
		}
		c.texts++
	default:
		c.differ("%s: not in the datagram", label)
	}
}

// text compares the value with what tshark shows for the same octets.
func (c *comparison) text(label string, f *ipfix.Field, v ipfix.Value, l *leaf) {
	same, known := sameText(f, v, l)
	if !known {
		c.notes[fmt.Sprintf("not compared as text: %v shown as %s", f.Type, l.name)]++
		return
	}
	c.texts++
	if !same {
		c.differ("%s (%v, %d octets): %d %x, tshark's %s shows %q", label, f.Type, f.Length, v.Num, v.View, l.name, l.show)
	}
}

func sameText(f *ipfix.Field, v ipfix.Value, l *leaf) (same, known bool) {
	if l.part {
		return false, false
	}
	if l.name == "cflow.scope_system" { // shown as octets
		return strings.ReplaceAll(l.show, ":", "") == hex.EncodeToString(v.View), true
	}
	switch f.Type {
	case ie.Unsigned8, ie.Unsigned16, ie.Unsigned32, ie.Unsigned64:
		if n, err := strconv.ParseUint(l.show, 0, 64); err == nil {
			return n == v.Num, true
		}
		if strings.HasPrefix(l.name, "cflow.time") || strings.Contains(l.show, ".") { // since boot, in seconds
			s, err := strconv.ParseFloat(l.show, 64)
			return err == nil && uint64(s*1000+0.5) == v.Num, err == nil
		}
	case ie.Signed8, ie.Signed16, ie.Signed32, ie.Signed64:
		n, err := strconv.ParseInt(l.show, 0, 64)
		return err == nil && n == v.Int(), err == nil
	case ie.Float32, ie.Float64:
		n, err := strconv.ParseFloat(l.show, 64)
		return err == nil && n == v.Float(), err == nil
	case ie.Boolean:
		return l.show == strconv.FormatUint(v.Num, 10), true
	case ie.IPv4Address, ie.IPv6Address:
		a, _ := netip.AddrFromSlice(v.View)
		b, err := netip.ParseAddr(l.show)
		return err == nil && a == b, err == nil
	case ie.MACAddress:
		m, err := net.ParseMAC(l.show)
		return err == nil && string(m) == string(v.View), err == nil
	case ie.String:
		s, _, _ := strings.Cut(string(v.View), "\x00")
		return strings.TrimRight(s, " ") == strings.TrimRight(l.show, " "), true
	case ie.DateTimeSeconds, ie.DateTimeMilliseconds, ie.DateTimeMicroseconds, ie.DateTimeNanoseconds:
		t, err := time.Parse("Jan _2, 2006 15:04:05.000000000 MST", strings.Join(strings.Fields(l.show), " "))
		if err != nil {
			return false, false
		}
		d := t.Sub(ipfix.Time(f.Type, v.Num))
		return d.Abs() < time.Microsecond, true
	case ie.OctetArray, ie.Unsigned256:
		return true, len(v.View) > 0 // the octets are the value
	}
	return false, false
}
