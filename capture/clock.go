package capture

import (
	"math"
	"math/bits"
)

// clock turns the ticks of a pcapng interface into nanoseconds since 1970.
type clock struct {
	perSecond uint64 // ticks
	perTick   uint64 // nanoseconds, 0 if that is no whole number
	offset    int64  // seconds
}

// newClock reads an if_tsresol: a negative power of ten, or of two with the
// top bit set. Resolutions beyond 64 bits a second are refused.
func newClock(resolution byte, offset int64) (clock, bool) {
	exp := resolution & 0x7f
	c := clock{perSecond: 1, offset: offset}
	if resolution&0x80 != 0 {
		if exp > 63 {
			return c, false
		}
		c.perSecond <<= exp
	} else {
		if exp > 19 {
			return c, false
		}
		for range exp {
			c.perSecond *= 10
		}
	}
	if 1e9%c.perSecond == 0 {
		c.perTick = 1e9 / c.perSecond
	}
	return c, true
}

// maxSeconds keeps times within 64 bits of nanoseconds (the year 2262).
const maxSeconds int64 = math.MaxInt64/1_000_000_000 - 1

// time bounds times that no clock can have shown.
func (c *clock) time(ticks uint64) int64 {
	if c.perTick != 0 && c.offset == 0 {
		if hi, ns := bits.Mul64(ticks, c.perTick); hi == 0 && ns <= uint64(maxSeconds)*1e9 {
			return int64(ns)
		}
	}
	sec, rest := ticks/c.perSecond, ticks%c.perSecond
	hi, lo := bits.Mul64(rest, 1e9)
	ns, _ := bits.Div64(hi, lo, c.perSecond) // rest < perSecond: fits
	total := int64(min(sec, uint64(maxSeconds)))
	if c.offset > 0 {
		total = min(total, maxSeconds-min(c.offset, maxSeconds))
	}
	total = max(total+max(c.offset, -maxSeconds), 0)
	return min(total, maxSeconds)*1e9 + int64(ns)
}
