package wire

import (
	"math/rand/v2"
	"testing"
)

func TestSeq(t *testing.T) {
	const top = Seq(1<<48 - 1)
	tests := []struct {
		a, b Seq
		sub  int64
	}{
		{5, 3, 2}, {3, 5, -2}, {0, top, 1}, {top, 0, -1}, {7, 7, 0},
		{1 << 47, 0, -1 << 47}, {1<<47 - 1, 0, 1<<47 - 1}, {100, 1<<48 - 100, 200},
	}
	for _, test := range tests {
		if d := test.a.Sub(test.b); d != test.sub || test.b.Add(d) != test.a || test.a.Less(test.b) != (d < 0) {
			t.Errorf("%d - %d = %d, want %d", test.a, test.b, d, test.sub)
		}
	}
	if MaxSeq(top, 2) != 2 || MaxSeq(2, top) != 2 || MakeSeq(1<<48+3) != 3 {
		t.Error("MaxSeq or MakeSeq is wrong around the top")
	}
	for _, s := range []Seq{top - 1, top, 0, 1} {
		if !s.Between(top-1, 1) {
			t.Errorf("%d is not between", s)
		}
	}
	if Seq(2).Between(top-1, 1) || (top-2).Between(top-1, 1) {
		t.Error("too much is between")
	}
}

// RFC 4340, Section 7.6: the procedure word by word, against ours.
func TestExtendSequenceNumber(t *testing.T) {
	const m = 1 << 24
	plain := func(s uint32, ref Seq) Seq {
		low, high := uint32(ref)&(m-1), uint64(ref)>>24
		before := func(a, b uint32) bool { return a != b && (b-a)&(m-1) < m/2 } // on the circle
		switch {
		case before(low, s) && s < low:
			high++
		case before(s, low) && low < s:
			high--
		}
		return Seq(high%m<<24 | uint64(s))
	}
	r := rand.New(rand.NewPCG(9, 10))
	for range 200000 {
		ref, s := MakeSeq(r.Uint64()), r.Uint32()&(m-1)
		if (s-uint32(ref))&(m-1) == m/2 {
			continue // half-way round there is no nearer one
		}
		if got, want := Extend(s, ref), plain(s, ref); got != want {
			t.Fatalf("%#x near %#x: %#x, want %#x", s, ref, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for have, want := range map[string]string{
		DataAck.String(): "DataAck", Type(12).String(): "Type(12)",
		ResetTooBusy.String(): "too busy", ResetCode(200).String(): "reset code 200",
		ServiceCode(0x6664707a).String(): "SC:fdpz", ServiceCode(7).String(): "SC=7",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
	for s, ok := range map[string]bool{"SC:fdpz": true, "SC=1717858426": true, "SC=x6664707A": true, "SC:a": true,
		"SC=4294967295": false, "SC:": false, "SC:toolong": false, "fdpz": false, "SC:a b": false, "SC=": false} {
		c, err := ParseServiceCode(s)
		if (err == nil) != ok {
			t.Errorf("%q: %v, %v", s, c, err)
		}
		if ok && s != "SC:a" && c != 0x6664707a {
			t.Errorf("%q is %#x", s, uint32(c))
		}
	}
	if c, _ := ParseServiceCode("SC:a"); c != 0x61202020 || c.String() != "SC:a" {
		t.Errorf("%#x, %v", uint32(c), c)
	}
}
