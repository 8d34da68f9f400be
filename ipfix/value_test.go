package ipfix_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// registryOf has one enterprise element of each type: 32473/100+type.
func registryOf(tb testing.TB) *ie.Registry {
	tb.Helper()
	reg := ie.NewRegistry(ie.IANA())
	for t := ie.OctetArray; t <= ie.Unsigned256; t++ {
		e := ie.Element{ID: typed(t), Name: "test" + strings.ToUpper(t.String()[:1]) + t.String()[1:], Type: t}
		if err := reg.Learn(e); err != nil {
			tb.Fatal(err)
		}
	}
	return reg
}

func typed(t ie.DataType) ie.ID { return ie.ID{PEN: 32473, Num: 100 + uint16(t)} }

func oneField(tb testing.TB, t ie.DataType, n uint16) *ipfix.Template {
	tb.Helper()
	tm, err := ipfix.NewTemplate(256, 0, []ipfix.FieldSpec{{ID: typed(t), Length: n}}, registryOf(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return tm
}

func float(f float64) uint64 { return math.Float64bits(f) }

// TestDataTypes_RFC7011_6_1 holds every abstract data type, in its own size and
// in reduced ones (Section 6.2), both ways.
func TestDataTypes_RFC7011_6_1(t *testing.T) {
	for _, tt := range []struct {
		typ  ie.DataType
		in   string
		want uint64
	}{
		{ie.Unsigned8, "ff", 255},
		{ie.Unsigned16, "fffe", 65534},
		{ie.Unsigned16, "80", 128},
		{ie.Unsigned32, "fffffffe", 4294967294},
		{ie.Unsigned32, "800000", 0x800000},
		{ie.Unsigned64, "fffffffffffffffe", 1<<64 - 2},
		{ie.Unsigned64, "80000000000000", 1 << 55},
		{ie.Unsigned64, "800000000000", 1 << 47},
		{ie.Unsigned64, "8000000000", 1 << 39},
		{ie.Unsigned64, "80000000", 1 << 31},
		{ie.Unsigned64, "01", 1},
		{ie.Signed8, "80", negative(-128)},
		{ie.Signed16, "fffe", negative(-2)},
		{ie.Signed16, "fe", negative(-2)},
		{ie.Signed32, "80000000", negative(math.MinInt32)},
		{ie.Signed32, "800000", negative(-0x800000)},
		{ie.Signed32, "7fffff", 0x7fffff},
		{ie.Signed64, "8000000000000000", negative(math.MinInt64)},
		{ie.Signed64, "ffffffffff", negative(-1)},
		{ie.Signed64, "7f", 127},
		{ie.Float32, "3fc00000", float(1.5)},
		{ie.Float32, "7f800000", float(math.Inf(1))},
		{ie.Float64, "3ff8000000000000", float(1.5)},
		{ie.Float64, "c0200000", float(-2.5)},
		{ie.Boolean, "01", 1},
		{ie.Boolean, "02", 0},
		{ie.Boolean, "00", ipfix.UndefinedBool},
		{ie.Boolean, "07", ipfix.UndefinedBool | 7},
		{ie.MACAddress, "0200005e1001", 0x0200005e1001},
		{ie.IPv4Address, "c0000201", 0xc0000201},
		{ie.IPv6Address, "20010db8000000000000000000000001", 0},
		{ie.DateTimeSeconds, "5f5e1000", 1600000000},
		{ie.DateTimeMilliseconds, "000001748762aa00", 0x1748762aa00},
		{ie.DateTimeMicroseconds, "e30b3f8080000000", 0xe30b3f8080000000},
		{ie.DateTimeNanoseconds, "e30b3f8080000001", 0xe30b3f8080000001},
		{ie.String, "c3a4", 0},
		{ie.OctetArray, "0001ff", 0},
		{ie.Unsigned256, "00ff00000000000000000000000000000000000000000000000000000000000001", 0},
		{ie.Unsigned256, "ff01", 0},
		{ie.BasicList, "03000700020050", 0},
		{ie.SubTemplateList, "030100", 0},
		{ie.SubTemplateMultiList, "0301000000", 0},
	} {
		in := octets(t, strings.TrimSuffix(tt.in, " "))
		if tt.typ == ie.Unsigned256 && len(in) == 33 {
			in = in[1:]
		}
		t.Run(fmt.Sprintf("%s in %d", tt.typ, len(in)), func(t *testing.T) {
			tm := oneField(t, tt.typ, uint16(len(in)))
			if tm.Check() != nil || tm.Misfits != 0 || tm.Fields[0].Type != tt.typ {
				t.Fatalf("%v, %d misfits, type %v", tm.Check(), tm.Misfits, tm.Fields[0].Type)
			}
			var r ipfix.Records
			r.Reset(tm, in)
			if !r.Next() {
				t.Fatal(r.Err())
			}
			v := r.Values(nil)
			if v[0].Num != tt.want || !cmp.Equal(v[0].View, in) {
				t.Errorf("value %#x of %x, want %#x of %x", v[0].Num, v[0].View, tt.want, in)
			}
			// The same with octets behind it: the fast path.
			long := append(append([]byte(nil), in...), make([]byte, 16)...)
			r.Reset(tm, long)
			if r.Next(); r.Values(nil)[0].Num != tt.want {
				t.Errorf("with more behind it: %#x", r.Values(nil)[0].Num)
			}
			out, err := tm.AppendRecord(nil, v)
			if err != nil || !cmp.Equal(out, in) {
				t.Errorf("encoded %x, %v", out, err)
			}
		})
	}
}

func negative(n int64) uint64 { return uint64(n) }

// TestReducedSize_RFC7011_6_2: what is not allowed, and what does not fit.
func TestReducedSize_RFC7011_6_2(t *testing.T) {
	for _, tt := range []struct {
		typ ie.DataType
		n   uint16
		// how it is read nevertheless
		want ie.DataType
	}{
		{ie.IPv4Address, 3, ie.OctetArray},
		{ie.IPv6Address, 8, ie.OctetArray},
		{ie.MACAddress, 8, ie.OctetArray},
		{ie.DateTimeSeconds, 8, ie.OctetArray},
		{ie.DateTimeMilliseconds, 4, ie.OctetArray},
		{ie.DateTimeNanoseconds, 4, ie.OctetArray},
		{ie.Boolean, 2, ie.OctetArray},
		{ie.Float32, 2, ie.OctetArray},
		{ie.Float64, 6, ie.OctetArray},
		{ie.Unsigned64, 9, ie.OctetArray},
		{ie.Unsigned256, 33, ie.OctetArray},
		{ie.Unsigned32, 8, ie.Unsigned32}, // a longer number is one still
		{ie.Unsigned32, ipfix.VariableLength, ie.Unsigned32},
	} {
		tm := oneField(t, tt.typ, tt.n)
		if tm.Misfits != 1 || tm.Check() == nil || tm.Fields[0].Type != tt.want {
			t.Errorf("%s in %d: %d misfits, read as %s", tt.typ, tt.n, tm.Misfits, tm.Fields[0].Type)
		}
	}
	for _, tt := range []struct {
		typ ie.DataType
		n   uint16
		v   ipfix.Value
	}{
		{ie.Unsigned64, 4, ipfix.Value{Num: 1 << 32}},
		{ie.Unsigned64, 7, ipfix.Value{Num: 1 << 56}},
		{ie.Unsigned16, 1, ipfix.Value{Num: 256}},
		{ie.Unsigned8, 1, ipfix.Value{Num: 256}},
		{ie.Signed32, 2, ipfix.Value{Num: 32768}},
		{ie.Signed32, 3, ipfix.Value{Num: negative(-0x800001)}},
		{ie.Boolean, 1, ipfix.Value{Num: 2}},
		{ie.IPv6Address, 16, ipfix.Value{View: make([]byte, 4)}},
		{ie.String, 4, ipfix.Value{View: []byte("abc")}},
		{ie.String, 2, ipfix.Value{View: []byte("\xff\xfe")}},
		{ie.String, ipfix.VariableLength, ipfix.Value{View: []byte("\xc3")}},
		{ie.String, ipfix.VariableLength, ipfix.Value{View: []byte("more than sixteen octets \xc3")}},
		{ie.OctetArray, ipfix.VariableLength, ipfix.Value{View: make([]byte, 65536)}},
	} {
		dst := []byte("kept")
		out, err := oneField(t, tt.typ, tt.n).AppendRecord(dst, []ipfix.Value{tt.v})
		if err == nil || string(out) != "kept" {
			t.Errorf("%s in %d octets: %d %q: %v, %q", tt.typ, tt.n, tt.v.Num, tt.v.View, err, out)
		}
	}
	if _, err := oneField(t, ie.Unsigned8, 1).AppendRecord(nil, nil); err == nil {
		t.Error("no values for one field")
	}
}

// TestStrings encodes texts of every short length, ASCII and not, with and
// without room behind them.
func TestStrings_RFC7011_6_1_6(t *testing.T) {
	tm := oneField(t, ie.String, ipfix.VariableLength)
	for n := range 300 {
		for _, last := range []string{"x", "ä", "€"} {
			if n < len(last) {
				continue
			}
			s := strings.Repeat("a", n-len(last)) + last
			for _, room := range []int{0, n + 1, 400} {
				out, err := tm.AppendRecord(make([]byte, 0, room), []ipfix.Value{{View: []byte(s)}})
				if want := ipfix.AppendVariable(nil, []byte(s)); err != nil || !cmp.Equal(out, want) {
					t.Fatalf("%q: %x, %v", s, out, err)
				}
				bad := []byte(s)
				bad[n/2] = 0xff
				if _, err := tm.AppendRecord(make([]byte, 0, room), []ipfix.Value{{View: bad}}); err == nil {
					t.Fatalf("%q was taken", bad)
				}
			}
		}
	}
}

func TestTime_RFC7011_6_1_7_to_10(t *testing.T) {
	date := func(s string) time.Time {
		ts, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return ts
	}
	for _, tt := range []struct {
		name string
		typ  ie.DataType
		num  uint64
		want string
	}{
		{"seconds", ie.DateTimeSeconds, 1600000000, "2020-09-13T12:26:40Z"},
		{"seconds, the last", ie.DateTimeSeconds, 1<<32 - 1, "2106-02-07T06:28:15Z"},
		{"milliseconds", ie.DateTimeMilliseconds, 1600000000123, "2020-09-13T12:26:40.123Z"},
		// 1970 is 2208988800 = 0x83aa7e80 in seconds from 1900.
		{"the UNIX epoch", ie.DateTimeNanoseconds, 0x83aa7e80 << 32, "1970-01-01T00:00:00Z"},
		{"half a second", ie.DateTimeMicroseconds, 0x83aa7e80<<32 | 1<<31, "1970-01-01T00:00:00.5Z"},
		// 0.000001 s is 4294.967 units; the next one with 11 zero bits is 6144.
		{"a microsecond", ie.DateTimeMicroseconds, 0x83aa7e80<<32 | 6144, "1970-01-01T00:00:00.000001Z"},
		{"a nanosecond", ie.DateTimeNanoseconds, 0x83aa7e80<<32 | 5, "1970-01-01T00:00:00.000000001Z"},
		{"the end of era 0", ie.DateTimeNanoseconds, 0xffffffff << 32, "2036-02-07T06:28:15Z"},
		{"the start of era 1", ie.DateTimeMicroseconds, 0, "2036-02-07T06:28:16Z"},
	} {
		if got := ipfix.Time(tt.typ, tt.num); !got.Equal(date(tt.want)) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if got := ipfix.TimeNum(tt.typ, date(tt.want)); got != tt.num {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.num)
		}
	}
	// The low 11 bits of microseconds are ignored (Section 6.1.9, MUST).
	for _, low := range []uint64{0, 1, 1<<11 - 1} {
		num := 0x83aa7e80<<32 | 1<<31 | low
		if got := ipfix.Time(ie.DateTimeMicroseconds, num); !got.Equal(date("1970-01-01T00:00:00.5Z")) {
			t.Errorf("low bits %#x: %s", low, got)
		}
	}
	// A timestamp that was cut where we round up is the same instant.
	for typ, num := range map[ie.DataType]uint64{
		ie.DateTimeMicroseconds: 0x83aa7e80<<32 | 4294, ie.DateTimeNanoseconds: 0x83aa7e80<<32 | 4,
	} {
		if got := ipfix.Time(typ, num); got.Nanosecond() != 1000 && got.Nanosecond() != 1 {
			t.Errorf("%s: %s", typ, got)
		}
	}
	// Every nanosecond and microsecond comes back.
	base := date("2024-02-29T23:59:59Z")
	for ns := int64(0); ns < 1e9; ns += 1_234_567 - 13 {
		ts := base.Add(time.Duration(ns))
		if got := ipfix.Time(ie.DateTimeNanoseconds, ipfix.NTP(ts)); !got.Equal(ts) {
			t.Fatalf("%s came back as %s", ts, got)
		}
		us := ts.Truncate(time.Microsecond)
		num := ipfix.TimeNum(ie.DateTimeMicroseconds, ts)
		if got := ipfix.Time(ie.DateTimeMicroseconds, num); !got.Equal(us) || num&(1<<11-1) != 0 {
			t.Fatalf("%s came back as %s (%#x)", us, got, num)
		}
	}
}
