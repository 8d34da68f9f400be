package udp

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const large, small = 8 << 20, 64 << 10
	tests := []struct {
		name     string
		every    time.Duration // between reads that were waited for
		messages int           // of each
		empty    bool
		buffer   int
		want     int // rests in 100 reads, at least
		most     int
	}{
		{"a datagram a second", time.Second, 1, true, large, 0, 0},
		{"two a millisecond", 500 * time.Microsecond, 1, true, large, 0, 0},
		{"thirty a millisecond", 33 * time.Microsecond, 1, true, large, 10, 12},
		{"bursts", 10 * time.Microsecond, 8, true, large, 99, 100},
		{"never emptied", time.Microsecond, 32, false, large, 0, 0},
		{"a buffer that a rest would fill", 10 * time.Microsecond, 8, true, small, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pace
			now := time.Unix(1, 0)
			rests := 0
			for range 100 {
				now = now.Add(tt.every)
				if p.rest(now, tt.messages, tt.messages*1400, tt.empty, tt.buffer) {
					rests++
				}
			}
			if rests < tt.want || rests > tt.most {
				t.Errorf("%d rests, want %d to %d", rests, tt.want, tt.most)
			}
		})
	}
}

// A rest that gathers little ends resting.
func TestPace_ends(t *testing.T) {
	var p pace
	now := time.Unix(1, 0)
	for i := range 20 {
		now = now.Add(10 * time.Microsecond)
		if p.rest(now, 1, 1400, true, 8<<20) {
			break
		} else if i == 19 {
			t.Fatal("no rest when datagrams come every 10 us")
		}
	}
	now = now.Add(restTime)
	if !p.rest(now, restWorth, restWorth*1400, true, 8<<20) {
		t.Error("no rest after one that was worth it")
	}
	now = now.Add(restTime)
	if p.rest(now, restWorth-1, 1400, true, 8<<20) {
		t.Error("a rest after one that was not")
	}
}
