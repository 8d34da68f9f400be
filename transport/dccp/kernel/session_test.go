package kernel

import (
	"testing"
	"time"
)

// A queue that fills, or stands, makes no progress; one that lets something go
// does, though more came in.
func TestProgress(t *testing.T) {
	const charge = 768 // of a small message
	p := progress{at: time.Unix(0, 0)}
	for i, c := range []struct {
		sent   uint64
		queued int
		want   time.Duration
	}{
		{0, 0, 0},
		{4, 0, 0},                         // sent at once
		{8, 4 * charge, time.Second},      // nothing goes
		{8, 4 * charge, 2 * time.Second},  // nor now
		{12, 8 * charge, 3 * time.Second}, // more came
		{12, 7 * charge, 0},               // one went
		{12, 7 * charge, time.Second},     // the next does not
		{20, 8 * charge, 0},               // seven went, eight came
		{20, 8 * charge, time.Second},     // full and still
		{20, 0, 0},                        // empty
		{20, 0, 0},                        // and at rest
		{21, 5 * charge, time.Second},     // a large one
		{21, 5 * charge, 2 * time.Second}, // stands
	} {
		if got := p.look(time.Unix(int64(i), 0), c.sent, c.queued); got != c.want {
			t.Errorf("step %d: %v, want %v", i, got, c.want)
		}
	}
}
