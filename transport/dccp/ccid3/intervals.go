package ccid3

import (
	"encoding/binary"

	"ipfixsuite/transport/dccp/wire"
)

// A Loss Intervals option (RFC 4342, Section 8.6):
//
//	+--------+--------+--------+----------------------------------
//	|  193   | length |  skip  |  intervals, the latest first …
//	+--------+--------+--------+----------------------------------
//	 interval: | lossless length, 24 | E | loss length, 23 | data length, 24 |
const (
	intervalLen = 9
	maxLength   = 1<<24 - 1 // of a lossless part and of data
	maxLoss     = 1<<23 - 1
)

// interval is one loss interval as reported: a lossy part of at most a round
// trip, then a part without losses (RFC 4342, Section 6.1).
type interval struct {
	lossless uint32 // packets of the second part
	loss     uint32 // packets of the first; 0 only in a connection's first interval
	data     uint32 // packets with data, which is what counts
}

// seqLen is how many sequence numbers the interval spans.
func (i interval) seqLen() int64 { return int64(i.lossless) + int64(i.loss) }

// report is the content of Loss Intervals options.
type report struct {
	skip int // packets up to the acknowledgement number that belong to no interval yet
	iv   [numIntervals + 1]interval
	n    int
}

// append encodes the report with at most as many intervals as fit in room
// octets; nothing when not one does.
func (r *report) append(b []byte, room int) []byte {
	n := min(r.n, (room-3)/intervalLen)
	if n < 1 {
		return b
	}
	b = append(b, byte(wire.OptLossIntervals), byte(3+n*intervalLen), byte(r.skip))
	for _, i := range r.iv[:n] {
		b = appendUint24(b, i.lossless)
		b = appendUint24(b, i.loss) // nonce echo 0
		b = appendUint24(b, i.data)
	}
	return b
}

func appendUint24(b []byte, v uint32) []byte { return append(b, byte(v>>16), byte(v>>8), byte(v)) }

func uint24(b []byte) uint32 { return uint32(binary.BigEndian.Uint16(b))<<8 | uint32(b[2]) }

// parse takes the data of one Loss Intervals option; a second option of the
// same packet goes on where the first left off. It keeps the latest nine
// intervals. False: the option makes no sense and is to be ignored.
func (r *report) parse(data []byte) bool {
	if len(data) < 1+intervalLen || (len(data)-1)%intervalLen != 0 {
		return false
	}
	// At most NDUPACK packets may be skipped, and those by the first option
	// alone (RFC 4342, Section 8.6.1, MUST).
	skip := int(data[0])
	if skip > numDupAck || r.n > 0 && (skip != 0 || r.iv[r.n-1].loss == 0) {
		return false
	}
	was := r.n
	for d := data[1:]; len(d) > 0; d = d[intervalLen:] {
		i := interval{lossless: uint24(d), loss: uint24(d[3:]) & maxLoss, data: uint24(d[6:])}
		// Data is at most what was sent, but in the first interval, whose
		// length is made up from the receive rate (RFC 4342, Section 6.1.1).
		first := i.loss == 0
		if !first && (int64(i.data) > i.seqLen() || i.data == 0) || first && len(d) > intervalLen {
			r.n = was
			return false
		}
		if r.n < len(r.iv) {
			r.iv[r.n] = i
			r.n++
		}
	}
	if was == 0 {
		r.skip = skip
	}
	return true
}

// weights of the intervals, the latest first (RFC 5348, Section 5.4).
var weights = [numIntervals]float64{1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2}

// lossRate is the loss event rate of intervals of so many packets with data,
// the current one first; 0 when there was no loss event, that is one interval
// alone (RFC 5348, Section 5.4).
func lossRate(lengths []float64) float64 {
	k := min(len(lengths)-1, numIntervals)
	if k < 1 {
		return 0
	}
	var with, without, total float64
	for i := range k {
		with += lengths[i] * weights[i]
		without += lengths[i+1] * weights[i]
		total += weights[i]
	}
	// The current interval counts only if that makes the average longer.
	return min(total/max(with, without), 1)
}
