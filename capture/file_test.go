package capture

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(strings.Join(strings.Fields(line), ""))
	}
	out, err := hex.DecodeString(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// all reads a file to its end or fault.
func all(in []byte) ([]Packet, error) {
	r, err := NewReader(bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	return drain(r)
}

func drain(r *Reader) ([]Packet, error) {
	var out []Packet
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		} else if err != nil {
			return out, err
		}
		p.Data = bytes.Clone(p.Data)
		out = append(out, p)
	}
}

const (
	pcapLE = "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000\n"
	pcapBE = "a1b2c3d4 0002 0004 00000000 00000000 00040000 00000065\n"
	packet = "0a000000 05000000 03000000 10000000 aabbcc\n" // 10.000005 s, 3 of 16 octets
)

var cut = Packet{Time: 10_000_005_000, Data: []byte{0xaa, 0xbb, 0xcc}, Length: 16, Link: 1}

// The sections, interfaces and packets of pcapng, in little-endian order.
const (
	shb   = "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000\n"
	idb   = "01000000 14000000 0100 0000 00000000 14000000\n"
	idbNs = "01000000 20000000 6500 0000 00000000 0900 0100 09000000 00000000 20000000 # if_tsresol 9, raw IP\n"
	epb   = "06000000 24000000 00000000 00000000 0a000000 03000000 10000000 aabbcc00 24000000\n"
	// nanosecond interface number 1, an option behind the packet
	epbNs = "06000000 2c000000 01000000 01000000 00e40b54 03000000 03000000 aabbcc00 0100 0200 68690000 2c000000\n"
	spb   = "03000000 14000000 03000000 aabbcc00 14000000\n"
	opb   = "02000000 24000000 0000 0700 00000000 0a000000 03000000 03000000 aabbcc00 24000000\n"
)

func TestReader_Formats(t *testing.T) {
	raw := func(n int64, link LinkType) Packet {
		return Packet{Time: n, Data: []byte{0xaa, 0xbb, 0xcc}, Length: 3, Link: link}
	}
	with := func(p Packet, iface uint32, length int) Packet {
		p.Interface, p.Length = iface, length
		return p
	}
	for _, row := range []struct {
		name, in string
		want     []Packet
	}{
		{"pcap, empty", pcapLE, nil},
		{"pcap little-endian", pcapLE + packet + packet, []Packet{cut, cut}},
		{"pcap big-endian", pcapBE + "0000000a 00000005 00000003 00000010 aabbcc", []Packet{{Time: cut.Time, Data: cut.Data, Length: 16, Link: LinkRaw}}},
		{"pcap nanoseconds", "4d3cb2a1 0200 0400 00000000 00000000 00000400 01000000" + packet, []Packet{{Time: 10_000_000_005, Data: cut.Data, Length: 16, Link: 1}}},
		{"pcap nanoseconds, big-endian", "a1b23c4d 0002 0004 00000000 00000000 00040000 00000001 0000000a 00000005 00000003 00000003 aabbcc", []Packet{raw(10_000_000_005, 1)}},
		{"pcap with FCS bits in the link type", "d4c3b2a1 0200 0400 00000000 00000000 00000400 01000024" + packet, []Packet{cut}},
		{"pcap, modified", "a1b2cd34 0002 0004 00000000 00000000 00040000 00000001 0000000a 00000005 00000003 00000003 0000000000000000 aabbcc", []Packet{raw(cut.Time, 1)}},
		{"pcap, shorter on the wire than captured", pcapLE + "0a000000 05000000 03000000 01000000 aabbcc", []Packet{raw(cut.Time, 1)}},
		{"pcap, after 2038", pcapLE + "000000f0 00000000 03000000 03000000 aabbcc", []Packet{raw(0xf0000000*1e9, 1)}},
		{"pcapng, empty", shb, nil},
		{"pcapng", shb + idb + epb, []Packet{with(raw(10_000, 1), 1, 16)}},
		{"pcapng, two interfaces", shb + idb + idbNs + epb + epbNs, []Packet{with(raw(10_000, 1), 1, 16), with(raw(0x00000001540be400, LinkRaw), 2, 3)}},
		{"pcapng, simple block has the time of the one before", shb + idb + epb + spb, []Packet{with(raw(10_000, 1), 1, 16), with(raw(10_000, 1), 1, 3)}},
		{"pcapng, simple block cut by snaplen", shb + "01000000 14000000 0100 0000 03000000 14000000" + "03000000 14000000 10000000 aabbcc00 14000000", []Packet{with(raw(0, 1), 1, 16)}},
		{"pcapng, obsolete block", shb + idb + opb, []Packet{with(raw(10_000, 1), 1, 3)}},
		{"pcapng, unknown blocks", shb + "ad0b0000 10000000 01020304 10000000" + idb + "05000000 0c000000 0c000000" + epb, []Packet{with(raw(10_000, 1), 1, 16)}},
		{"pcapng, two sections of two orders", shb + idb + idb + epb +
			"0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c 00000001 00000014 0065 0000 00000000 00000014" +
			"00000006 00000024 00000000 00000000 0000000a 00000003 00000003 aabbcc00 00000024",
			[]Packet{with(raw(10_000, 1), 1, 16), with(raw(10_000, LinkRaw), 1, 3)}},
		{"pcapng, if_tsoffset", shb + "01000000 24000000 0100 0000 00000000 0e00 0800 6400000000000000 00000000 24000000" + epb, []Packet{with(raw(100_000_010_000, 1), 1, 16)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			in := unhex(t, row.in)
			got, err := all(in)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(row.want, got); d != "" {
				t.Error(d)
			}
			// The same in crumbs, and compressed.
			r, err := NewReader(iotest.OneByteReader(bytes.NewReader(in)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err = drain(r); err != nil || cmp.Diff(row.want, got) != "" {
				t.Errorf("octet by octet: %v, %v", got, err)
			}
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			w.Write(in)
			w.Close()
			if got, err = all(z.Bytes()); err != nil || cmp.Diff(row.want, got) != "" {
				t.Errorf("gzip: %v, %v", got, err)
			}
		})
	}
}

// TestReader_Faults: what stands before the fault is handed out, then the
// error tells where and what.
func TestReader_Faults(t *testing.T) {
	for _, row := range []struct {
		name, in string
		packets  int
		want     string
	}{
		{"nothing", "", 0, "offset 0: file header: unexpected EOF"},
		{"text", "68656c6c6f", 0, "offset 0: magic number: 0x68656c6c: neither pcap nor pcapng"},
		{"header cut", pcapLE[:18], 0, "offset 0: file header: unexpected EOF"},
		{"version", "d4c3b2a1 0300 0400 00000000 00000000 00000400 01000000", 0, "offset 0: version: 3.4, want 2.x"},
		{"packet header cut", pcapLE + packet + "0a000000 05", 1, "offset 43: packet header: unexpected EOF"},
		{"packet cut", pcapLE + packet + packet[:40], 1, "offset 43: packet: unexpected EOF"},
		{"huge captured length", pcapLE + packet + "0a000000 05000000 01000400 01000400 aabbcc", 1, "offset 43: captured length: 262145 octets, more than 262144"},
		{"block header cut", shb + idb + epb + "060000", 1, "offset 84: block header: unexpected EOF"},
		{"block cut", shb + idb + epb + epb[:40], 1, "offset 84: block: unexpected EOF"},
		{"unknown block cut", shb + "99000000 fcffff0c 00", 0, "offset 28: block: unexpected EOF"},
		{"block length 8", shb + "06000000 08000000 00000000", 0, "offset 28: block length: 8, not a multiple of 4 from 12 on"},
		{"block length odd", shb + "06000000 25000000 00000000", 0, "offset 28: block length: 37, not a multiple of 4 from 12 on"},
		{"block huge", shb + "06000000 00000010 00000000", 0, "offset 28: block length: 268435456, more than 327680"},
		{"lengths differ", shb + "05000000 0c000000 0c000000" + "01000000 14000000 0100 0000 00000000 18000000", 0, "offset 40: block length: 20 in front, 24 at the end"},
		{"byte order", "0a0d0d0a 1c000000 4d3c2b1b 0100 0000", 0, "offset 0: byte-order magic: 0x4d3c2b1b"},
		{"section version", "0a0d0d0a 1c000000 4d3c2b1a 0200 0000 ffffffffffffffff 1c000000", 0, "offset 0: version: 2.0, want 1.x"},
		{"interface not described", shb + idb + epbNs, 0, "offset 48: interface: number 1 of 1 described"},
		{"simple block without interface", shb + spb, 0, "offset 28: interface: none described"},
		{"captured more than the block", shb + idb + "06000000 24000000 00000000 00000000 0a000000 05000000 10000000 aabbcc00 24000000", 0,
			"offset 48: captured length: 5 octets in a block that has room for 4"},
		{"resolution", shb + "01000000 20000000 0100 0000 00000000 0900 0100 14000000 00000000 20000000", 0, "offset 28: if_tsresol: 0x14 is finer than 64 bits can tell"},
		{"option longer than the block", shb + "01000000 1c000000 0100 0000 00000000 0900 0900 09000000 1c000000", 0, "offset 28: interface option: block too short"},
	} {
		t.Run(row.name, func(t *testing.T) {
			in := strings.TrimSpace(row.in)
			got, err := all(unhex(t, in))
			if err == nil || err.Error() != row.want {
				t.Errorf("error %v\nwant  %s", err, row.want)
			}
			if len(got) != row.packets {
				t.Errorf("%d packets before it, want %d", len(got), row.packets)
			}
		})
	}
}

func TestClock(t *testing.T) {
	for _, row := range []struct {
		resolution byte
		offset     int64
		ticks      uint64
		want       int64
	}{
		{6, 0, 1_500_000, 1_500_000_000},
		{9, 0, 1, 1},
		{0, 0, 7, 7_000_000_000},
		{3, -1, 2500, 1_500_000_000},
		{12, 0, 1_999_999_999_999, 1_999_999_999}, // picoseconds, cut off
		{19, 0, 25_000_000_000_000_000_000 / 10 * 5, 1_250_000_000},
		{0x80 | 10, 0, 1536, 1_500_000_000},
		{0x80 | 63, 0, 1<<63 + 1<<62, 1_500_000_000},
		{6, 0, math.MaxUint64, maxSeconds*1e9 + 551_615_000}, // bounded
		{0, 0, math.MaxUint64, maxSeconds * 1e9},
		{0, math.MaxInt64, 5, maxSeconds * 1e9},
		{0, math.MinInt64, 5, 0},
	} {
		c, ok := newClock(row.resolution, row.offset)
		if !ok {
			t.Errorf("%#x refused", row.resolution)
		} else if got := c.time(row.ticks); got != row.want {
			t.Errorf("resolution %#x, offset %d, %d ticks: %d, want %d", row.resolution, row.offset, row.ticks, got, row.want)
		}
	}
}

func TestOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	if _, err := OpenFile(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path); !errors.Is(err, ErrFormat) || !strings.HasPrefix(err.Error(), path+": offset 0: ") {
		t.Errorf("garbage: %v", err)
	}
}

// TestReader_ReadError: an error of the file itself comes after the packets
// read before it.
func TestReader_ReadError(t *testing.T) {
	broken := errors.New("broken disk")
	r, err := NewReader(io.MultiReader(bytes.NewReader(unhex(t, pcapLE+packet+"0a00")), iotest.ErrReader(broken)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := drain(r)
	if len(got) != 1 || !errors.Is(err, broken) {
		t.Errorf("%d packets, %v", len(got), err)
	}
	if _, again := r.Next(); again != err { //nolint:errorlint // the very same
		t.Errorf("again: %v", again)
	}
}

// file is a pcap file of n packets of size octets.
func file(n, size int) []byte {
	b := []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0}
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		b = append(b, make([]byte, size)...)
	}
	return b
}

// TestReader_LargestPackets: packets up to the bound cross the window's end.
func TestReader_LargestPackets(t *testing.T) {
	for _, size := range []int{0, 1, 65535, windowSize - 16, windowSize - 15, maxCapture} {
		got, err := all(file(5, size))
		if err != nil || len(got) != 5 || len(got[4].Data) != size || got[4].Time != 4e9 {
			t.Errorf("%d octets: %d packets, %v", size, len(got), err)
		}
	}
}

func TestReader_NoAllocations(t *testing.T) {
	ng := unhex(t, shb+idb)
	for range 10000 {
		ng = append(ng, unhex(t, epb)...)
	}
	for name, in := range map[string][]byte{"pcap": file(10000, 100), "pcapng": ng} {
		r, err := NewReader(bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			r.Next()
		}
		if n := testing.AllocsPerRun(5000, func() { r.Next() }); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{pcapLE + packet + packet, pcapBE + packet, shb + idb + idbNs + epb + epbNs + spb + opb, shb + "ad0b0000 10000000 01020304 10000000"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := all(in)
		total := 0
		for _, p := range got {
			total += len(p.Data)
			if p.Length < len(p.Data) || p.Time < 0 {
				t.Fatalf("%+v", p)
			}
		}
		if len(in) > 1 && in[0] != 0x1f && total > len(in) {
			t.Fatalf("%d octets of packets in a file of %d", total, len(in))
		}
		var pe *ParseError
		if errors.As(err, &pe) && len(in) > 1 && in[0] != 0x1f && (pe.Offset < 0 || pe.Offset > int64(len(in))) {
			t.Fatalf("offset %d in a file of %d: %v", pe.Offset, len(in), err)
		}
	})
}
