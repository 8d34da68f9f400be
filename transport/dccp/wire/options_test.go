package wire

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// walk reads an option area with every codec and appends again what it can.
func walk(t testing.TB, area []byte) {
	r := ReadOptions(area)
	for r.Next() {
		o := r.Option
		if f, ok := ParseFeature(o); ok {
			again := AppendFeature(nil, f.Type, f.Feature, f.Values...)
			if !bytes.Equal(again[2:], o.Data) {
				t.Fatalf("feature option %x became %x", o.Data, again)
			}
			_, _ = SequenceWindow(f.Values)
			_, _ = AckRatio(f.Values)
		}
		switch o.Type {
		case OptNDPCount:
			if n, ok := NDPCount(o.Data); ok {
				if m, ok := NDPCount(AppendNDPCount(nil, n)[2:]); !ok || m != n {
					t.Fatalf("NDP Count %d became %d", n, m)
				}
			}
		case OptTimestampEcho:
			if s, d, ok := TimestampEcho(o.Data); ok {
				if s2, d2, ok := TimestampEcho(AppendTimestampEcho(nil, s, d)[2:]); !ok || s2 != s || d2 != d {
					t.Fatalf("echo %d %v became %d %v", s, d, s2, d2)
				}
			}
		case OptElapsedTime:
			if d, ok := ElapsedTime(o.Data); ok {
				if d2, ok := ElapsedTime(AppendElapsedTime(nil, d)[2:]); !ok || d2 != d {
					t.Fatalf("elapsed %v became %v", d, d2)
				}
			}
		case OptAckVector0, OptAckVector1:
			again, n := []byte(nil), 0
			runs := NewAckRuns(1000)
			for runs.Feed(o.Data); runs.Next(); {
				again = AppendAckRun(again, 0, runs.Run.State, runs.Run.Len)
				n += runs.Run.Len
				if runs.Run.First().Sub(runs.Run.Last) != int64(1-runs.Run.Len) {
					t.Fatal("a run's ends do not fit its length")
				}
			}
			if AckVectorLen(again) != n || AckVectorLen(o.Data) != n {
				t.Fatalf("vector %x of %d packets became %x", o.Data, n, again)
			}
		case OptDataDropped:
			again := []byte(nil)
			n := 0
			runs := NewDropRuns(1000)
			for runs.Feed(o.Data); runs.Next(); {
				again = AppendDropRun(again, runs.Run.Code, runs.Run.Len)
				n += runs.Run.Len
			}
			m := 0
			runs = NewDropRuns(1000)
			for runs.Feed(again); runs.Next(); {
				m += runs.Run.Len
			}
			if n != m {
				t.Fatalf("blocks %x of %d packets became %x of %d", o.Data, n, again, m)
			}
		}
	}
	if r.Next() {
		t.Fatal("an option after the end")
	}
}

func TestReadOptions(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want []Option
		err  error
	}{
		{"empty", "", nil, nil},
		{"padding", "000000", nil, nil},
		{"between and unaligned", "0002002603aa00", []Option{{OptSlowReceiver, false, nil}, {OptAckVector0, false, []byte{0xaa}}}, nil},
		{"unknown ones are passed on", "1f2d0399", []Option{{31, false, nil}, {45, false, []byte{0x99}}}, nil},
		{"Mandatory belongs to what follows", "0120040101 02", []Option{{OptChangeL, true, []byte{1, 1}}, {OptSlowReceiver, false, nil}}, nil},
		// RFC 4340, Section 5.8.2.
		{"Mandatory Padding is padding", "010002", []Option{{OptSlowReceiver, false, nil}}, nil},
		{"Mandatory at the end", "0201", []Option{{OptSlowReceiver, false, nil}}, ErrMandatory},
		{"Mandatory Mandatory", "01010200", nil, ErrMandatory},
		// RFC 4340, Section 5.8: the rest is ignored, what came before holds.
		{"length 1", "02260102", []Option{{OptSlowReceiver, false, nil}}, ErrOptionLength},
		{"length 0", "02260002", []Option{{OptSlowReceiver, false, nil}}, ErrOptionLength},
		{"beyond the area", "022605aabb", []Option{{OptSlowReceiver, false, nil}}, ErrOptionLength},
		{"no length", "0226", []Option{{OptSlowReceiver, false, nil}}, ErrOptionLength},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := ReadOptions(unhex(t, string(bytes.ReplaceAll([]byte(test.in), []byte(" "), nil))))
			i := 0
			for ; r.Next(); i++ {
				if i >= len(test.want) {
					t.Fatalf("one too many: %+v", r.Option)
				}
				w := test.want[i]
				if r.Option.Type != w.Type || r.Option.Mandatory != w.Mandatory || !bytes.Equal(r.Option.Data, w.Data) {
					t.Errorf("%d: %+v, want %+v", i, r.Option, w)
				}
			}
			if i != len(test.want) || !errors.Is(r.Err(), test.err) {
				t.Errorf("%d options, %v; want %d, %v", i, r.Err(), len(test.want), test.err)
			}
		})
	}
}

// RFC 4340, Sections 5.8 and 5.8.2: on a Data packet neither Mandatory nor what
// could reset the connection counts.
func TestReadOptionsOfData(t *testing.T) {
	p := Packet{Type: Data, Options: []byte{1, 1, 45, 3, 9, 1, 32, 4, 1, 2, 38, 3, 0, 2, 1}}
	var got []Option
	r := p.ReadOptions()
	for r.Next() {
		got = append(got, r.Option)
	}
	if len(got) != 2 || got[0].Type != 45 || got[0].Mandatory || got[1].Type != OptSlowReceiver || r.Err() != nil {
		t.Errorf("%+v, %v", got, r.Err())
	}
	p.Type = Ack
	if r = p.ReadOptions(); r.Next() || r.Err() == nil {
		t.Error("Mandatory Mandatory counts on an Ack")
	}
}

// RFC 4340, Table 3, column DCCP-Data.
func TestOptionsIgnoredOnData(t *testing.T) {
	for _, o := range []OptionType{1, 32, 33, 34, 35, 36, 38, 39, 40, 43, 192, 193, 194} {
		if o.OnData() {
			t.Errorf("%d counts on a Data packet", o)
		}
	}
	for _, o := range []OptionType{0, 2, 37, 41, 42, 44, 128} {
		if !o.OnData() {
			t.Errorf("%d does not count on a Data packet", o)
		}
	}
}

// RFC 4340, Section 6.5: octets of Change and Confirm options.
func TestFeatureOptionExamples(t *testing.T) {
	tests := []struct {
		want []byte
		got  []byte
	}{
		{[]byte{32, 5, 1, 2, 3}, AppendFeature(nil, OptChangeL, FeatCCID, 2, 3)},
		{[]byte{32, 9, 3, 0, 0, 0, 0, 4, 0}, AppendFeature(nil, OptChangeL, FeatSequenceWindow, AppendSequenceWindow(nil, 1024)...)},
		{[]byte{33, 6, 1, 2, 2, 3}, AppendFeature(nil, OptConfirmL, FeatCCID, 2, 2, 3)},
		{[]byte{33, 3, 126}, AppendFeature(nil, OptConfirmL, 126)},
		{[]byte{34, 5, 1, 3, 2}, AppendFeature(nil, OptChangeR, FeatCCID, 3, 2)},
		{[]byte{35, 6, 1, 2, 3, 2}, AppendFeature(nil, OptConfirmR, FeatCCID, 2, 3, 2)},
		{[]byte{35, 9, 3, 0, 0, 0, 0, 4, 0}, AppendFeature(nil, OptConfirmR, FeatSequenceWindow, AppendSequenceWindow(nil, 1024)...)},
		{[]byte{35, 3, 126}, AppendFeature(nil, OptConfirmR, 126)},
	}
	for _, test := range tests {
		if !bytes.Equal(test.got, test.want) {
			t.Errorf("%v, want %v", test.got, test.want)
		}
	}
	for _, o := range []Option{{OptAckVector0, false, []byte{1}}, {OptChangeL, false, nil}} {
		if _, ok := ParseFeature(o); ok {
			t.Errorf("%+v is a feature option", o)
		}
	}
}

// RFC 4340, Sections 7.5.2 and 6.6.8: ranges and lengths.
func TestNonNegotiableValues(t *testing.T) {
	for _, test := range []struct {
		v  uint64
		ok bool
	}{{31, false}, {32, true}, {1<<46 - 1, true}, {1 << 46, false}} {
		if w, ok := SequenceWindow(AppendSequenceWindow(nil, test.v)); ok != test.ok || ok && w != test.v {
			t.Errorf("%d: %d, %v", test.v, w, ok)
		}
	}
	for _, v := range [][]byte{nil, {1}, {0, 0}, {0, 0, 1}} {
		if _, ok := AckRatio(v); ok {
			t.Errorf("Ack Ratio %v taken", v)
		}
	}
	if _, ok := SequenceWindow([]byte{0, 0, 0, 0, 100}); ok {
		t.Error("a window of five octets taken")
	}
	if v, ok := AckRatio([]byte{1, 2}); !ok || v != 258 {
		t.Error(v, ok)
	}
}

// RFC 4340, Section 13: the smallest form that holds the value.
func TestTimeOptions(t *testing.T) {
	tests := []struct {
		d    time.Duration
		len  int // of a Timestamp Echo option
		len2 int // of an Elapsed Time option
		want time.Duration
	}{
		{0, 6, 4, 0},
		{9 * time.Microsecond, 6, 4, 0},
		{10 * time.Microsecond, 8, 4, 10 * time.Microsecond},
		{655350 * time.Microsecond, 8, 4, 655350 * time.Microsecond},
		{655360 * time.Microsecond, 10, 6, 655360 * time.Microsecond},
		{12 * time.Hour, 10, 6, (1<<32 - 1) * TimeUnit},
		{-time.Second, 6, 4, 0},
	}
	for _, test := range tests {
		echo, elapsed := AppendTimestampEcho(nil, 7, test.d), AppendElapsedTime(nil, test.d)
		if len(echo) != test.len || int(echo[1]) != test.len || len(elapsed) != test.len2 || int(elapsed[1]) != test.len2 {
			t.Errorf("%v: %x, %x", test.d, echo, elapsed)
		}
		if s, d, ok := TimestampEcho(echo[2:]); !ok || s != 7 || d != test.want {
			t.Errorf("%v: %d %v %v", test.d, s, d, ok)
		}
		if d, ok := ElapsedTime(elapsed[2:]); !ok || d != test.want {
			t.Errorf("%v: %v %v", test.d, d, ok)
		}
	}
	if v, ok := Timestamp(AppendTimestamp(nil, 0xdeadbeef)[2:]); !ok || v != 0xdeadbeef {
		t.Error(v, ok)
	}
	for n := range 10 {
		_, _, ok := TimestampEcho(make([]byte, n))
		_, ok2 := ElapsedTime(make([]byte, n))
		_, ok3 := Timestamp(make([]byte, n))
		_, ok4 := NDPCount(make([]byte, n))
		if ok != (n == 4 || n == 6 || n == 8) || ok2 != (n == 2 || n == 4) || ok3 != (n == 4) || ok4 != (n >= 1 && n <= 6) {
			t.Errorf("length %d: %v %v %v %v", n, ok, ok2, ok3, ok4)
		}
	}
}

// RFC 4340, Section 7.7: one to six octets, as few as hold the count.
func TestNDPCount(t *testing.T) {
	for n, size := range map[uint64]int{0: 1, 255: 1, 256: 2, 1<<40 - 1: 5, 1 << 40: 6, 1<<48 - 1: 6} {
		b := AppendNDPCount(nil, n)
		if v, ok := NDPCount(b[2:]); len(b) != 2+size || !ok || v != n {
			t.Errorf("%d: %x, %d %v", n, b, v, ok)
		}
	}
}

// RFC 4340, Section 9.3: CRC-32c as SCTP sends it; of no data it is zero.
func TestDataChecksum(t *testing.T) {
	if b := AppendDataChecksum(nil, nil); !bytes.Equal(b, []byte{44, 6, 0, 0, 0, 0}) {
		t.Errorf("%x", b)
	}
	// RFC 3720, Appendix B.4: 32 octets of zero give aa 36 91 8a on the wire.
	data := make([]byte, 32)
	b := AppendDataChecksum(nil, data)
	if !bytes.Equal(b[2:], []byte{0xaa, 0x36, 0x91, 0x8a}) {
		t.Errorf("%x", b)
	}
	if match, ok := CheckDataCRC(b[2:], data); !match || !ok {
		t.Error("does not match itself")
	}
	data[3] = 1
	if match, ok := CheckDataCRC(b[2:], data); match || !ok {
		t.Error("matches other data")
	}
	if _, ok := CheckDataCRC(b[3:], data); ok {
		t.Error("three octets taken")
	}
}

func TestOptionLimits(t *testing.T) {
	if b := AppendOption(nil, OptSlowReceiver, 1, 2); len(b) != 1 {
		t.Errorf("%x", b)
	}
	if b := AppendOption(nil, OptInitCookie, make([]byte, MaxOptionData)...); len(b) != 255 || b[1] != 255 {
		t.Errorf("%x", b)
	}
	defer func() {
		if recover() == nil {
			t.Error("an option of 256 octets was made")
		}
	}()
	AppendOption(nil, OptInitCookie, make([]byte, MaxOptionData+1)...)
}

func FuzzOptions(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.options))
	}
	f.Add([]byte{38, 5, 0, 192, 3, 40, 4, 0, 160, 1, 0, 37, 3, 9, 42, 8, 1, 2, 3, 4, 5, 6})
	f.Fuzz(func(t *testing.T, b []byte) { walk(t, b) })
}
