package record

import "time"

// clock writes times; it remembers the text of the day it wrote last.
type clock struct {
	day  uint64 // since 1970, plus 1: 0 is none
	date [11]byte
}

const (
	secondsPerDay = 86400
	// lastSecond is the end of the year 9999: years have four digits
	// (RFC 7373, Section 4.8).
	lastSecond = 253402300799
	// maxTime is the room that a time needs: 10 of the date, 9 of the time of
	// day with its T, 10 of a fraction, and what is written in blocks.
	maxTime = 32
)

// put writes the second s, without a fraction: 19 octets. s is at most
// lastSecond.
func (c *clock) put(p []byte, s uint64) int {
	day := s / secondsPerDay
	if day+1 != c.day {
		c.setDay(day)
	}
	r := uint32(s - day*secondsPerDay)
	_ = p[maxTime-1]
	*(*[11]byte)(p) = c.date
	m := r / 60
	h := m / 60
	*(*[2]byte)(p[11:]) = two[h]
	p[13] = ':'
	*(*[2]byte)(p[14:]) = two[m-h*60]
	p[16] = ':'
	*(*[2]byte)(p[17:]) = two[r-m*60]
	return 19
}

func (c *clock) setDay(day uint64) {
	time.Unix(int64(day*secondsPerDay), 0).UTC().AppendFormat(c.date[:0], "2006-01-02T")
	c.day = day + 1
}

func (c *clock) seconds(p []byte, s uint64) int {
	if s > lastSecond {
		return putUint(p, s)
	}
	return c.put(p, s)
}

func (c *clock) millis(p []byte, ms uint64) int {
	s := ms / 1000
	if s > lastSecond {
		return putUint(p, ms)
	}
	c.put(p, s)
	f := four[ms-s*1000]
	f[0] = '.'
	*(*[4]byte)(p[19:]) = f
	return 23
}

// ntpUnix is 1970 in seconds since 1900.
const ntpUnix = 2208988800

// ntpSecond is the UNIX second of an NTP timestamp: seconds with the top bit
// clear belong to the era that begins in 2036 (RFC 7011, Section 5.2). What
// lies before 1970, at most two years, has no text as an unsigned number.
func ntpSecond(num uint64) (s uint64, ok bool) {
	s = num >> 32
	if s < 1<<31 {
		s += 1 << 32
	}
	return s - ntpUnix, s >= ntpUnix
}

// micros writes an NTP timestamp of which the low 11 bits mean nothing
// (RFC 7011, Section 6.1.9, MUST be ignored).
func (c *clock) micros(p []byte, num uint64) int {
	s, ok := ntpSecond(num)
	if !ok {
		return c.before1970(p, num, 6)
	}
	us := ((num&0xFFFFF800)*1e6 + 1<<31) >> 32
	if us == 1e6 {
		s, us = s+1, 0
	}
	c.put(p, s)
	p[19] = '.'
	*(*[2]byte)(p[20:]) = two[us/10000]
	*(*[4]byte)(p[22:]) = four[us%10000]
	return 26
}

// nanos writes an NTP timestamp (RFC 7011, Section 6.1.10).
func (c *clock) nanos(p []byte, num uint64) int {
	s, ok := ntpSecond(num)
	if !ok {
		return c.before1970(p, num, 9)
	}
	ns := ((num&0xFFFFFFFF)*1e9 + 1<<31) >> 32
	if ns == 1e9 {
		s, ns = s+1, 0
	}
	c.put(p, s)
	p[19] = '.'
	hi := ns / 10000
	p[20] = '0' + byte(hi/10000)
	*(*[4]byte)(p[21:]) = four[hi%10000]
	*(*[4]byte)(p[25:]) = four[ns%10000]
	return 29
}

// before1970 is the way that is seldom needed.
func (c *clock) before1970(p []byte, num uint64, digits int) int {
	t := time.Unix(int64(num>>32)-ntpUnix, 0).UTC()
	if digits == 6 {
		t = t.Add(time.Duration(((num&0xFFFFF800)*1e6+1<<31)>>32) * time.Microsecond)
		return len(t.AppendFormat(p[:0], "2006-01-02T15:04:05.000000"))
	}
	t = t.Add(time.Duration(((num&0xFFFFFFFF)*1e9 + 1<<31) >> 32))
	return len(t.AppendFormat(p[:0], "2006-01-02T15:04:05.000000000"))
}
