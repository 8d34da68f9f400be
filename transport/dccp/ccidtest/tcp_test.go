package ccidtest_test

import (
	"encoding/binary"
	"time"

	"ipfixsuite/transport/dccp/sim"
)

// tcpSender is a TCP to be fair to: slow start and congestion avoidance as in
// RFC 5681 with acknowledgements of two segments, NewReno's one reduction for a
// window (RFC 6582) with selective acknowledgements to find the losses (RFC
// 6675), the timer of RFC 6298 with a floor of 200 ms: what real stacks do with
// Reno. It counts in segments and always has more to send. A segment on the wire
// is its number and padding; an acknowledgement is the next number expected and
// the ranges that came beyond it.
type tcpSender struct {
	size int // of a segment's packet

	cwnd, ssthresh float64
	una, next      uint32 // first not acknowledged, next new one
	segs           [tcpWindow]segment
	pipe           int
	high           uint32 // one past the highest selectively acknowledged
	recovering     bool
	recover        uint32 // one past the last sent when a loss was seen
	lost           []uint32

	srtt, rttvar, rto time.Duration
	timer             time.Time
}

// tcpWindow is the receiver's window: what the model has room for.
const tcpWindow = 1 << 12

type segment struct {
	at     time.Time
	sacked bool
	lost   bool // deemed lost and not sent again yet
	again  bool // sent more than once
}

func newTCP(size int) (*tcpSender, *tcpReceiver) {
	return &tcpSender{size: size, cwnd: 3, ssthresh: 1e9, rto: time.Second}, new(tcpReceiver)
}

func (s *tcpSender) seg(n uint32) *segment { return &s.segs[n%tcpWindow] }

func (s *tcpSender) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if float64(s.pipe) >= s.cwnd {
		return b, false, false
	}
	for len(s.lost) > 0 {
		n := s.lost[0]
		s.lost = s.lost[1:]
		if seg := s.seg(n); n >= s.una && seg.lost && !seg.sacked {
			return s.send(now, b, n, true)
		}
	}
	if s.next-s.una >= tcpWindow {
		return b, false, false
	}
	s.next++
	return s.send(now, b, s.next-1, false)
}

func (s *tcpSender) send(now time.Time, b []byte, n uint32, again bool) ([]byte, bool, bool) {
	*s.seg(n) = segment{at: now, again: again}
	s.pipe++
	if s.timer.IsZero() {
		s.timer = now.Add(s.rto)
	}
	b = binary.BigEndian.AppendUint32(b, n)
	return append(b, make([]byte, s.size-4)...), false, true
}

func (s *tcpSender) Receive(now time.Time, p sim.Packet) {
	ack := binary.BigEndian.Uint32(p.Data)
	news := 0
	for ; s.una < ack; s.una++ {
		news += s.arrived(now, s.una)
	}
	for r := p.Data[4:]; len(r) >= 8; r = r[8:] {
		from, to := binary.BigEndian.Uint32(r), binary.BigEndian.Uint32(r[4:])
		for n := max(from, s.una); n < to; n++ {
			s.arrived(now, n)
		}
		s.high = max(s.high, to)
	}
	s.infer()
	if s.recovering && s.una >= s.recover {
		s.recovering = false
	}
	if news == 0 {
		return
	}
	if !s.recovering {
		if s.cwnd < s.ssthresh {
			s.cwnd += min(float64(news), 2)
		} else {
			s.cwnd += float64(news) / s.cwnd
		}
	}
	s.timer = time.Time{}
	if s.next > s.una {
		s.timer = now.Add(s.rto)
	}
}

// arrived takes a segment out of the network; 1 if it was in it.
func (s *tcpSender) arrived(now time.Time, n uint32) int {
	seg := s.seg(n)
	if seg.sacked {
		return 0
	}
	if !seg.lost {
		s.pipe--
	}
	if !seg.again && !seg.lost { // Karn
		s.sample(now.Sub(seg.at))
	}
	seg.sacked = true
	return 1
}

// infer finds what is lost: three later segments arrived.
func (s *tcpSender) infer() {
	for n := s.una; n+3 < s.high; n++ {
		seg := s.seg(n)
		if seg.sacked || seg.lost || seg.again {
			continue
		}
		seg.lost = true
		s.lost = append(s.lost, n)
		s.pipe--
		if !s.recovering {
			s.ssthresh = max(s.cwnd/2, 2)
			s.cwnd = s.ssthresh
			s.recovering, s.recover = true, s.next
		}
	}
}

func (s *tcpSender) sample(r time.Duration) {
	if s.srtt == 0 {
		s.srtt, s.rttvar = r, r/2
	} else {
		s.rttvar += ((s.srtt - r).Abs() - s.rttvar) / 4
		s.srtt += (r - s.srtt) / 8
	}
	s.rto = max(s.srtt+4*s.rttvar, 200*time.Millisecond)
}

func (s *tcpSender) Advance(now time.Time) {
	if s.timer.IsZero() || now.Before(s.timer) {
		return
	}
	s.timer = time.Time{}
	s.ssthresh, s.cwnd = max(s.cwnd/2, 2), 1
	s.recovering, s.recover = false, s.next
	s.lost, s.pipe = s.lost[:0], 0
	for n := s.una; n < s.next; n++ {
		if seg := s.seg(n); !seg.sacked {
			*seg = segment{lost: true, again: true}
			s.lost = append(s.lost, n)
		}
	}
	s.rto = min(2*s.rto, time.Minute)
}

func (s *tcpSender) Next() time.Time { return s.timer }

// tcpReceiver acknowledges every second segment, after 100 ms at the latest,
// and at once what is out of order.
type tcpReceiver struct {
	next     uint32
	high     uint32          // one past the highest that came
	early    [tcpWindow]bool // came beyond next
	owed     int
	now      bool
	due      time.Time
	segments uint64 // that came, each once
}

func (r *tcpReceiver) Receive(now time.Time, p sim.Packet) {
	n := binary.BigEndian.Uint32(p.Data)
	if n < r.next || r.early[n%tcpWindow] {
		r.now = true
		return
	}
	r.segments++
	r.now = r.now || n > r.next || r.high > n
	r.high = max(r.high, n+1)
	r.early[n%tcpWindow] = true
	for ; r.early[r.next%tcpWindow]; r.next++ {
		r.early[r.next%tcpWindow] = false
	}
	if r.owed++; r.owed == 1 {
		r.due = now.Add(100 * time.Millisecond)
	}
	r.now = r.now || r.owed >= 2
}

func (r *tcpReceiver) Transmit(now time.Time, b []byte) ([]byte, bool, bool) {
	if !r.now && (r.due.IsZero() || now.Before(r.due)) {
		return b, false, false
	}
	r.now, r.owed, r.due = false, 0, time.Time{}
	b = binary.BigEndian.AppendUint32(b, r.next)
	// As many ranges as the 40 octets of real options would hold over a few
	// acknowledgements: the latest ones.
	for n, ranges := r.high, 0; n > r.next && ranges < 8; ranges++ {
		to := n
		for n > r.next && r.early[(n-1)%tcpWindow] {
			n--
		}
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, n), to)
		for n > r.next && !r.early[(n-1)%tcpWindow] {
			n--
		}
	}
	return b, false, true
}

func (r *tcpReceiver) Advance(time.Time) {}
func (r *tcpReceiver) Next() time.Time   { return r.due }
