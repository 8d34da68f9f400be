package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ipfix"
	"ipfixsuite/record"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// message makes an IPFIX message of sets given in hex.
func message(domain, exportTime uint32, sets string) []byte {
	body := unhex(sets)
	b := binary.BigEndian.AppendUint16(nil, ipfix.Version)
	b = binary.BigEndian.AppendUint16(b, uint16(ipfix.HeaderLen+len(body)))
	b = binary.BigEndian.AppendUint32(b, exportTime)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, domain)
	return append(b, body...)
}

const (
	template256 = "0002 0010 0100 0002 0008 0004 0004 0001 " // source address, protocol
	data256     = "0100 000E C0000201 06 C0000202 11 "
)

// got is what a Decoder gave.
type got struct {
	Records  []string
	Problems []string
}

// run decodes inputs one after the other.
func run(t testing.TB, inputs ...[]byte) (got, Stats) {
	t.Helper()
	var g got
	d := New(Config{
		Emit: func(b *record.Batch) error {
			g.Records = append(g.Records, lines(b)...)
			return nil
		},
		Report: func(p Problem) { g.Problems = append(g.Problems, p.Error()) },
	})
	for i, in := range inputs {
		if err := d.Read(fmt.Sprintf("dir/file%d", i), bytes.NewReader(in)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return g, d.Stats()
}

func lines(b *record.Batch) (out []string) {
	var r ipfix.Records
	for r.Reset(b.Template, b.Body); r.Next(); {
		out = append(out, fmt.Sprintf("%s/%d %d@%d %d: %x", b.Exporter, b.Session, b.Domain, b.ExportTime, b.Template.ID, r.Raw()))
	}
	if len(out) != b.Records {
		out = append(out, "WRONG COUNT")
	}
	return out
}

func TestRead_Messages(t *testing.T) {
	tests := []struct {
		name string
		in   [][]byte
		want got
	}{
		{"an RFC 5655 file", [][]byte{slices.Concat(message(1, 100, template256), message(1, 101, data256), message(1, 102, data256))}, got{Records: []string{
			"file0/1 1@101 256: c000020106", "file0/1 1@101 256: c000020211", "file0/1 1@102 256: c000020106", "file0/1 1@102 256: c000020211"}}},
		{"a message a file, the template first", [][]byte{message(1, 100, template256), message(1, 101, data256)}, got{Records: []string{
			"file1/1 1@101 256: c000020106", "file1/1 1@101 256: c000020211"}}},
		{"the data first (RFC 7011, 8)", [][]byte{message(1, 101, data256), message(1, 100, template256)}, got{Records: []string{
			"file1/1 1@101 256: c000020106", "file1/1 1@101 256: c000020211"}}},
		{"the template never", [][]byte{message(1, 101, data256+data256)}, got{Problems: []string{
			"file0: domain 1: template 256 never came, 2 data sets (20 octets) not decoded"}}},
		{"redefined without a withdrawal (RFC 5655, 7.1)", [][]byte{message(1, 100, template256), message(1, 101, "0002 000C 0100 0001 0004 0001 0100 0005 06")}, got{Records: []string{
			"file1/1 1@101 256: 06"}}},
		{"withdrawn (RFC 5655, 7.1)", [][]byte{message(1, 100, template256+"0002 0008 0100 0000"+data256)}, got{Problems: []string{
			"file0: domain 1: template 256 never came, 1 data sets (10 octets) not decoded"}}},
		{"a reserved set, the rest goes on", [][]byte{message(1, 100, "00FF 0006 ABCD"+template256+data256)}, got{
			[]string{"file0/1 1@100 256: c000020106", "file0/1 1@100 256: c000020211"}, []string{"dir/file0: offset 0: octet 16: set id 255 is reserved"}}},
		{"the file cut", [][]byte{slices.Concat(message(1, 100, template256+data256), message(1, 101, data256)[:20])}, got{
			[]string{"file0/1 1@100 256: c000020106", "file0/1 1@100 256: c000020211"},
			[]string{"dir/file0: offset 46: message of 30 octets is truncated after 20 (20 octets skipped)"}}},
		{"its start garbled", [][]byte{slices.Concat([]byte("xx"), message(1, 100, template256+data256))}, got{
			[]string{"file0/1 1@100 256: c000020106", "file0/1 1@100 256: c000020211"},
			[]string{"dir/file0: offset 0: no IPFIX message header (2 octets skipped)"}}},
		{"empty", [][]byte{nil}, got{Problems: []string{"dir/file0: empty file"}}},
		{"something else", [][]byte{[]byte("#!/bin/sh\nexit 1\n")}, got{Problems: []string{"dir/file0: neither an IPFIX file nor a capture nor NetFlow"}}},
		{"broken gzip", [][]byte{unhex("1f8b 0800")}, got{Problems: []string{"dir/file0: unexpected EOF"}}},
		{"a capture's header cut", [][]byte{unhex("d4c3b2a1 0200")}, got{Problems: []string{"dir/file0: offset 0: file header: unexpected EOF"}}},
		{"NetFlow", [][]byte{unhex("0009 0002 00010000 00000064 00000007 0000002A 0000 000C 0100 0001 0004 0001 0100 0006 06 11")},
			got{Records: []string{"file0/1 42@100 256: 06", "file0/1 42@100 256: 11"}}},
		{"NetFlow, cut", [][]byte{unhex("0009 0002 00010000 00000064 00000007 0000002A 0000 000C 0100")},
			got{Problems: []string{"dir/file0: offset 0: octet 22: flowset length: 6 of 12 octets: truncated"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, _ := run(t, tt.in...)
			if diff := cmp.Diff(tt.want, g); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRead_LearnsElements_RFC5610(t *testing.T) {
	var names []string
	d := New(Config{Emit: func(b *record.Batch) error {
		for i := range b.Template.Fields {
			if f := &b.Template.Fields[i]; f.PEN != 0 && f.Element != nil {
				names = append(names, fmt.Sprintf("%s %s", f.Element.Name, f.Type))
			}
		}
		return nil
	}})
	// 32473/100 is "load", unsigned32; scope: enterprise and number.
	in := message(1, 100, "0002 0010 0100 0001 8064 0004 00007ED9 "+
		"0003 001A 0101 0004 0002 015A 0004 012F 0002 0153 0001 0155 FFFF "+
		"0101 0010 00007ED9 0064 03 04 6C6F6164 "+"0100 0008 00000007")
	if err := d.Read("f", bytes.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"load unsigned32"}, names); diff != "" {
		t.Error(diff)
	}
	if d.Stats().Problems != 0 {
		t.Errorf("%+v", d.Stats())
	}
}

func TestRead_EmitFails(t *testing.T) {
	broken := errors.New("pipe closed")
	calls := 0
	d := New(Config{Emit: func(*record.Batch) error { calls++; return broken }})
	in := message(1, 100, template256+data256+data256)
	for range 2 {
		if err := d.Read("f", bytes.NewReader(in)); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
}

// softflowd's own statistics of what it exported (testdata/README.md) are what
// the records add up to.
func TestFile_Softflowd(t *testing.T) {
	tests := []struct {
		file            string
		records         uint64
		packets, octets uint64
	}{
		{"softflowd-v5.pcap", 11, 0, 0},
		{"softflowd-v9.pcap", 22, 141, 15062},
		{"softflowd-v10.pcap", 22, 141, 15062},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			var packets, octets uint64
			d := New(Config{
				Emit: func(b *record.Batch) error {
					var r ipfix.Records
					for r.Reset(b.Template, b.Body); r.Next() && !b.Template.Options(); {
						var start, end uint64
						for i, v := range r.Values(nil) {
							switch b.Template.Fields[i].Num {
							case 1:
								octets += v.Num
							case 2:
								packets += v.Num
							case 152:
								start = v.Num
							case 153:
								end = v.Num
							}
						}
						// The traffic was made just before it was exported.
						if export := uint64(b.ExportTime) * 1000; strings.HasSuffix(tt.file, "9.pcap") && (start > end || end > export+2000 || start+3600_000 < export) {
							t.Errorf("from %d to %d, exported at %d", start, end, export)
						}
					}
					return nil
				},
				Report: func(p Problem) { t.Error(p) },
			})
			if err := d.File(filepath.Join("testdata", tt.file)); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			st := d.Stats()
			if st.Records != tt.records || st.Foreign != 0 {
				t.Errorf("%+v", st)
			}
			if tt.packets > 0 && (packets != tt.packets || octets != tt.octets) {
				t.Errorf("%d packets, %d octets, want %d and %d", packets, octets, tt.packets, tt.octets)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(message(1, 100, template256+data256))
	f.Add(unhex("0009 0002 00010000 00000064 00000007 0000002A 0000 000C 0100 0001 0004 0001 0100 0006 06 11"))
	f.Add(pcap(udp(1, message(1, 100, template256+data256)), tcp(1, 0x02, nil), tcp(2, 0x18, message(1, 100, template256+data256))))
	f.Add(pcap(sctp(3, 1, message(1, 100, template256)), sctp(2, 2, message(1, 100, data256)), fragment(1, 0, true, make([]byte, 24))))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := New(Config{Emit: func(b *record.Batch) error {
			var r ipfix.Records
			n := 0
			for r.Reset(b.Template, b.Body); r.Next(); n++ {
				r.Values(nil)
			}
			if n != b.Records || r.Err() != nil {
				t.Fatalf("%d records of %d, %v", n, b.Records, r.Err())
			}
			return nil
		}})
		for range 2 {
			d.Read("f", bytes.NewReader(in))
		}
		d.Close()
	})
}
