package export

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	now := time.Unix(1000, 0)
	b := bucket{rate: 1000}
	sent := 0
	for end := now.Add(10 * time.Second); now.Before(end); {
		if w := b.wait(now); w > 0 {
			now = now.Add(w)
			continue
		}
		b.take(30)
		sent += 30
	}
	if sent < 10_000 || sent > 10_200 {
		t.Errorf("%d records in 10 s at 1000 a second", sent)
	}
	now = now.Add(time.Hour) // a pause saves up no more than a burst
	burst := 0
	for b.wait(now) == 0 {
		b.take(10)
		burst += 10
	}
	if burst > 110 {
		t.Errorf("burst of %d after a pause", burst)
	}
	var free bucket
	if free.wait(now) != 0 {
		t.Error("the zero bucket paces")
	}
}
