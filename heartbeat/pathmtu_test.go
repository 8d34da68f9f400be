package heartbeat

import (
	"math/rand/v2"
	"testing"
	"time"
)

// walk probes once a second over a path that takes mtu octets and loses some,
// and returns how large a datagram may be in the end.
func walk(p *PathMTU, now *time.Time, d time.Duration, carrier, mtu int, loss float64, r *rand.Rand) (limit, padded int) {
	for end := now.Add(d); now.Before(end); *now = now.Add(time.Second) {
		size := p.Size(*now, carrier)
		switch {
		case size == 0:
			continue
		case size <= mtu && r.Float64() >= loss:
			p.Passed(*now, size, carrier)
		default:
			p.Lost(*now, size)
		}
		padded++
	}
	return p.Limit(carrier), padded
}

func TestPathMTU_RFC6520_5_1(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		name         string
		carrier, mtu int
		loss         float64
		min, max     int
	}{
		{"as promised", 1472, 1472, 0, 1472, 1472},
		{"a tunnel on the way", 1472, 1400, 0, 1384, 1400},
		{"hardly more than the base", 1472, 1201, 0, 1200, 1201},
		{"jumbo frames promised", 8972, 1472, 0, 1456, 1472},
		{"no padded request is answered", 1472, 100, 0, 1472, 1472},
		{"small already", 1180, 500, 0, 1180, 1180},
		{"lossy", 1472, 1472, 0.05, 1472, 1472},
		{"lossy tunnel", 1472, 1400, 0.05, 1200, 1400},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p PathMTU
			now := ms(0)
			r := rand.New(rand.NewPCG(1, 2))
			got, padded := walk(&p, &now, hour, c.carrier, c.mtu, c.loss, r)
			if got < c.min || got > c.max {
				t.Errorf("limit %d, want %d to %d", got, c.min, c.max)
			}
			if padded > 500 {
				t.Errorf("%d padded requests in an hour", padded)
			}
		})
	}
}

// A path that shrinks is noticed in half a minute, one that grows again in ten.
func TestPathMTU_Changes(t *testing.T) {
	var p PathMTU
	now := ms(0)
	r := rand.New(rand.NewPCG(1, 2))
	walk(&p, &now, time.Minute, 1472, 1472, 0, r)
	if got, _ := walk(&p, &now, 25*time.Second, 1472, 1300, 0, r); got > 1300 {
		t.Errorf("limit %d after 25 s", got)
	}
	if got, _ := walk(&p, &now, time.Minute, 1472, 1300, 0, r); got < 1284 || got > 1300 {
		t.Errorf("limit %d after the search", got)
	}
	if got, _ := walk(&p, &now, 11*time.Minute, 1472, 1472, 0, r); got != 1472 {
		t.Errorf("limit %d on a path that grew", got)
	}
	// What the carrier itself learns holds at once.
	if got := p.Limit(1300); got != 1300 {
		t.Errorf("limit %d", got)
	}
	walk(&p, &now, time.Minute, 1472, 1250, 0, r)
	if got, _ := walk(&p, &now, 2*time.Minute, 1232, 1250, 0, r); got != 1232 {
		t.Errorf("limit %d of a smaller carrier", got)
	}
}
