package ccid3

import (
	"slices"
	"testing"

	"ipfixsuite/transport/dccp/wire"
)

// log drives a loss history: packets by number, the window counter by number
// as well, perRTT packets in a round trip.
type log struct {
	losses
	perRTT int64
	events []int64 // numbers of packets that began one
}

func newLog(perRTT int64) *log { return &log{losses: newLosses(0), perRTT: perRTT} }

func (l *log) counter() uint8 { return uint8((l.end.Sub(0) + 1) * 4 / l.perRTT % 16) }

func (l *log) come(n int) {
	for range n {
		l.arrived(true, l.counter())
	}
}

func (l *log) lose(n int) {
	at := l.end.Sub(0) + 1
	if l.missed(int64(n), 0, func() uint32 { return 100 }) {
		l.events = append(l.events, at)
	}
}

func (l *log) mark() {
	l.come(1)
	if l.marked(func() uint32 { return 100 }) {
		l.events = append(l.events, l.end.Sub(0))
	}
}

func (l *log) lengths() (d []uint32) {
	r := l.report(l.end)
	for _, i := range r.iv[:r.n] {
		d = append(d, i.data)
	}
	return d
}

// RFC 4342, Section 10.2: losses are of different events when the window
// counter has moved by more than 4 since the packet before the first of them.
func TestLossesWithinARoundTripAreOneEvent_RFC4342_10_2(t *testing.T) {
	for _, c := range []struct {
		gap  int // packets that come between two losses, eight in a round trip
		want []int64
	}{
		{0, []int64{16}}, {3, []int64{16}}, {7, []int64{16}}, {8, []int64{16, 25}}, {30, []int64{16, 47}},
		// Counters differ by 16: once round is not the same.
		{32, []int64{16, 49}},
	} {
		l := newLog(8)
		l.come(16)
		l.lose(1)
		l.come(c.gap)
		l.lose(1)
		if !slices.Equal(l.events, c.want) {
			t.Errorf("%d packets between: events at %v, want %v", c.gap, l.events, c.want)
		}
	}
	// An event lasts a round trip from its first loss, not from its last.
	l := newLog(8)
	l.come(16)
	for range 4 {
		l.lose(1)
		l.come(5)
	}
	if want := []int64{16, 28}; !slices.Equal(l.events, want) {
		t.Errorf("events at %v, want %v", l.events, want)
	}
	// All packets between are lost: one event, however many (ibid.).
	l = newLog(8)
	l.come(16)
	l.lose(100)
	if len(l.events) != 1 {
		t.Errorf("events at %v", l.events)
	}
	// Packets without data carry no clock.
	l = newLog(8)
	l.come(16)
	l.lose(1)
	for range 20 {
		l.arrived(false, 13)
	}
	l.lose(1)
	if len(l.events) != 1 {
		t.Errorf("events at %v", l.events)
	}
}

// RFC 4342, Section 7: a mark is a loss, but the packet came.
func TestMarksBeginEvents_RFC4342_7(t *testing.T) {
	l := newLog(8)
	l.come(20)
	l.mark() // packet 20
	l.come(4)
	l.lose(1) // packet 25, same event
	l.come(24)
	if !slices.Equal(l.events, []int64{20}) {
		t.Errorf("events at %v", l.events)
	}
	if r := l.report(49); r.iv[0] != (interval{lossless: 24, loss: 6, data: 30}) {
		t.Errorf("%+v", r.iv[0])
	}
}

// RFC 4342, Section 6.1.1: a loss interval's length counts packets with data;
// what is lost counts as data unless the NDP Count tells otherwise (Section 6.1).
func TestOnlyDataCounts_RFC4342_6_1_1(t *testing.T) {
	l := newLog(8)
	l.come(16)
	l.lose(1) // 16
	l.come(20)
	for range 7 {
		l.arrived(false, 0)
	}
	if got := l.lengths(); !slices.Equal(got, []uint32{21, 100}) {
		t.Errorf("lengths %v", got)
	}
	// Three lost packets of which the NDP Count of the next says: no data.
	if l.missed(3, 3, nil) {
		t.Error("lost acknowledgements began a loss event")
	}
	if l.missed(2, 5, nil) {
		t.Error("an NDP Count beyond the hole")
	}
	if got := l.lengths(); !slices.Equal(got, []uint32{21, 100}) {
		t.Errorf("lengths %v", got)
	}
	// Of four lost packets the last two had none: the event is two long.
	if !l.missed(4, 2, nil) {
		t.Error("no event")
	}
	if r := l.report(l.end); r.iv[0] != (interval{lossless: 2, loss: 2, data: 2}) || r.iv[1].data != 21 {
		t.Errorf("%+v", r.iv[:2])
	}
}

// RFC 4342, Section 6.1.1: no length of the first interval before a loss; at
// least one packet in any other.
func TestFirstIntervalHasNoLength_RFC4342_6_1_1(t *testing.T) {
	l := newLog(8)
	l.come(1000)
	if got := l.lengths(); !slices.Equal(got, []uint32{0}) || l.rate() != 0 {
		t.Errorf("lengths %v, p %v", got, l.rate())
	}
	l.lose(1)
	if got := l.lengths(); !slices.Equal(got, []uint32{1, 100}) || l.rate() != 0.01 {
		t.Errorf("lengths %v, p %v", got, l.rate())
	}
	// The first packet of all is lost: a null interval (RFC 5348, Section 6.3.1).
	l = newLog(8)
	l.lose(1)
	l.come(3)
	if r := l.report(3); r.n != 2 || r.iv[1] != (interval{data: 100}) || r.iv[0] != (interval{3, 1, 4}) {
		t.Errorf("%+v", r.iv[:2])
	}
}

// RFC 4342, Section 6.1: the last packets may belong to no interval yet, three
// at most; a longer hole counts as lossless until it is known to be lost.
func TestUnsettledPacketsAreSkipped_RFC4342_6_1(t *testing.T) {
	l := newLog(8)
	l.come(16)
	l.lose(1)
	l.come(10) // 17 to 26
	for _, c := range []struct {
		ack      wire.Seq
		skip     int
		lossless uint32
	}{{26, 0, 10}, {28, 2, 10}, {29, 3, 10}, {40, 3, 21}} {
		if r := l.report(c.ack); r.skip != c.skip || r.iv[0].lossless != c.lossless {
			t.Errorf("acknowledging %d: skip %d, lossless %d; want %d, %d", c.ack, r.skip, r.iv[0].lossless, c.skip, c.lossless)
		}
	}
}

// RFC 5348, Section 5.1: a packet that comes too late to be in time fills its
// hole all the same; what had begun an event has not.
func TestLatePacketTakesItsEventBack_RFC5348_5_1(t *testing.T) {
	l := newLog(8)
	l.come(16)
	l.lose(1) // 16, the first
	l.come(20)
	l.lose(1) // 37
	l.come(5)
	l.arrived(false, 0) // no data
	if l.returned(16) || l.returned(30) || l.returned(38) {
		t.Error("taken back by a packet that had not begun the event")
	}
	if !l.returned(37) {
		t.Fatal("not taken back")
	}
	if got := l.lengths(); !slices.Equal(got, []uint32{27, 100}) {
		t.Errorf("lengths %v", got)
	}
	if l.returned(37) {
		t.Error("taken back twice")
	}
	// The next loss is of a new event all the same.
	l.lose(1) // 44
	if !slices.Equal(l.events, []int64{16, 37, 44}) {
		t.Errorf("events at %v", l.events)
	}
	// One of two lost packets is back: the other began the event anyhow.
	l.come(20)
	l.lose(2)
	if l.returned(l.end) || l.returned(l.end.Add(-1)) {
		t.Error("taken back though another packet is lost")
	}
	// A marked packet's second copy proves nothing; nor does the first event
	// of all go away.
	l.come(20)
	l.mark()
	if l.returned(l.end) {
		t.Error("taken back by a copy of a marked packet")
	}
	l = newLog(8)
	l.come(16)
	l.lose(1)
	if l.returned(16) {
		t.Error("the first event was taken back")
	}
}

func TestNineIntervalsAreKept(t *testing.T) {
	l := newLog(8)
	for i := range 20 {
		l.come(20 + i)
		l.lose(1)
	}
	// The last began just now; before it those of 20+i packets and a loss.
	if got := l.lengths(); !slices.Equal(got, []uint32{1, 40, 39, 38, 37, 36, 35, 34, 33}) {
		t.Errorf("lengths %v", got)
	}
}

// Found by fuzzing: a hole longer than the option can tell.
func TestLengthsAtTheirLimit(t *testing.T) {
	l := newLog(8)
	l.come(16)
	l.lose(maxLoss + 1000)
	l.come(3)
	r := l.report(l.end)
	if r.iv[0] != (interval{lossless: 3, loss: maxLoss, data: maxLoss + 3}) {
		t.Errorf("%+v", r.iv[0])
	}
	l.end = l.end.Add(maxLength)
	r = l.report(l.end)
	if r.iv[0] != (interval{lossless: 0xffffff, loss: maxLoss, data: 0xffffff}) {
		t.Errorf("%+v", r.iv[0])
	}
	var again report
	if b := r.append(nil, 100); !again.parse(b[2:]) {
		t.Errorf("reported % x, which makes no sense", b)
	}
}
