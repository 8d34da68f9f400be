package record

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"testing"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

func TestPutUint(t *testing.T) {
	var p [maxUint + 4]byte
	check := func(v uint64) {
		if got := string(p[:putUint(p[:], v)]); got != strconv.FormatUint(v, 10) {
			t.Fatalf("%d is %s", v, got)
		}
		if got := string(p[:putInt(p[:], int64(v))]); got != strconv.FormatInt(int64(v), 10) {
			t.Fatalf("%d is %s", int64(v), got)
		}
	}
	for v := range uint64(100000) {
		check(v)
	}
	for v := uint64(1); v < 1e19; v *= 10 {
		for d := range uint64(3) {
			check(v*10 + d - 1)
		}
	}
	check(math.MaxUint64)
	check(1 << 63)
	r := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		check(r.Uint64() >> r.UintN(64))
	}
}

// net/netip is the judge.
func TestPutIPv6_RFC5952(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var p [maxValue]byte
	for mask := range 256 {
		for range 200 {
			var x [16]byte
			for i := range 8 {
				if mask>>i&1 == 0 {
					binary.BigEndian.PutUint16(x[2*i:], uint16(1+r.UintN(0xFFFF)>>r.UintN(16)))
				}
			}
			if r.UintN(20) == 0 {
				copy(x[:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff")
			}
			want := netip.AddrFrom16(x).String()
			if got := string(p[:putIPv6(p[:], x[:])]); got != want {
				t.Fatalf("%s is %s", want, got)
			}
		}
	}
}

// Package time, by way of ipfix.Time, is the judge.
func TestClock_RFC7373_4_8(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c clock
	var p [maxTime]byte
	for range 200000 {
		v := r.Uint64()
		if r.UintN(2) == 0 { // of these days
			v = (3_900_000_000+uint64(r.UintN(2e8)))<<32 | v&0xFFFFFFFF
		}
		if r.UintN(10) == 0 {
			v |= 0xFFFFFFFF
		}
		for _, k := range []struct {
			typ    ie.DataType
			num    uint64
			layout string
			put    func([]byte, uint64) int
		}{
			{ie.DateTimeSeconds, v >> 32, "2006-01-02T15:04:05", c.seconds},
			{ie.DateTimeMilliseconds, v % (lastSecond * 1000), "2006-01-02T15:04:05.000", c.millis},
			{ie.DateTimeMicroseconds, v, "2006-01-02T15:04:05.000000", c.micros},
			{ie.DateTimeNanoseconds, v, "2006-01-02T15:04:05.000000000", c.nanos},
		} {
			want := ipfix.Time(k.typ, k.num).Format(k.layout)
			if got := string(p[:k.put(p[:], k.num)]); got != want {
				t.Fatalf("%v %#x: %s, want %s", k.typ, k.num, got, want)
			}
		}
	}
	if c.day == 0 {
		t.Error("no day is remembered")
	}
}
