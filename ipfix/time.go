package ipfix

import (
	"time"

	"ipfixsuite/ie"
)

const (
	// ntpUnix is 1970 in seconds of the NTP era 0, which starts in 1900.
	ntpUnix = 2208988800
	// Timestamps with the top bit clear are taken from era 1, which starts
	// in 2036 (RFC 7011, Section 5.2): the span is 1968 to 2104.
	ntpEra = 1 << 32
	// microMask: of dateTimeMicroseconds the low 11 bits of the fraction
	// mean nothing (RFC 7011, Section 6.1.9, MUST be ignored).
	microMask = 1<<11 - 1
)

// Time is the instant that num, the [Value] of a field of one of the four time
// types, stands for (RFC 7011, Sections 6.1.7 to 6.1.10), in UTC; the zero Time
// for other types. Microseconds are rounded to whole ones.
func Time(t ie.DataType, num uint64) time.Time {
	switch t {
	case ie.DateTimeSeconds:
		return time.Unix(int64(num), 0).UTC()
	case ie.DateTimeMilliseconds:
		// Not UnixMilli: num may have all 64 bits.
		return time.Unix(int64(num/1000), int64(num%1000)*1e6).UTC()
	case ie.DateTimeMicroseconds:
		frac := num & (1<<32 - 1) &^ microMask
		us := (frac*1e6 + 1<<31) >> 32
		return time.Unix(ntpSeconds(num), int64(us)*1000).UTC()
	case ie.DateTimeNanoseconds:
		ns := ((num&(1<<32-1))*1e9 + 1<<31) >> 32
		return time.Unix(ntpSeconds(num), int64(ns)).UTC()
	}
	return time.Time{}
}

func ntpSeconds(num uint64) int64 {
	s := int64(num >> 32)
	if s < 1<<31 {
		s += ntpEra
	}
	return s - ntpUnix
}

// NTP is ts as a 64-bit NTP timestamp, as dateTimeNanoseconds has it.
func NTP(ts time.Time) uint64 { return ntp(ts, 0) }

// ntp rounds the fraction up, with the bits of mask clear: readers that cut it
// to nanoseconds (or microseconds) find those of ts, as those that round do.
func ntp(ts time.Time, mask uint64) uint64 {
	s := uint64(ts.Unix()+ntpUnix) & (1<<32 - 1)
	frac := (uint64(ts.Nanosecond())<<32 + 1e9 - 1) / 1e9
	return s<<32 | (frac+mask)&^mask
}

// TimeNum is the Num of a field of one of the time types that is to say ts.
// Finer parts of ts are cut; 0 for other types.
func TimeNum(t ie.DataType, ts time.Time) uint64 {
	switch t {
	case ie.DateTimeSeconds:
		return uint64(ts.Unix()) & (1<<32 - 1)
	case ie.DateTimeMilliseconds:
		return uint64(ts.Unix())*1000 + uint64(ts.Nanosecond())/1e6
	case ie.DateTimeMicroseconds:
		// The bits that do not count are zero (RFC 7011, Section 6.1.9,
		// SHOULD).
		return ntp(ts.Truncate(time.Microsecond), microMask)
	case ie.DateTimeNanoseconds:
		return NTP(ts)
	}
	return 0
}
