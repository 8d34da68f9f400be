package main

import (
	"runtime"
	"time"
)

// A contender does the same work as others, in its own way.
type contender struct {
	name string
	// pass works through the workload once and returns the records it did.
	pass func() (int, error)
}

// A result is what one contender took.
type result struct {
	ns     float64 // a record, in the best slice of time
	allocs float64 // a record
	err    error
}

// slice is how long one contender works before it is the next one's turn:
// they take turns, so that what disturbs the machine disturbs all of them.
const slice = 4 * time.Millisecond

// measure lets the contenders take turns for about d each.
func measure(cs []contender, d time.Duration) map[string]result {
	results := make(map[string]result)
	repeat := make([]int, len(cs))
	for i, c := range cs {
		r := result{}
		start := time.Now()
		if _, r.err = c.pass(); r.err == nil {
			_, r.err = c.pass()
			repeat[i] = max(1, int(slice/(time.Since(start)/2+1)))
			r.allocs = allocs(c)
		}
		results[c.name] = r
	}
	for start := time.Now(); time.Since(start) < d*time.Duration(len(cs)); {
		for i, c := range cs {
			r := results[c.name]
			if r.err != nil {
				continue
			}
			// Nobody works while another one's garbage is collected.
			runtime.GC()
			records := 0
			begin := time.Now()
			for range repeat[i] {
				n, err := c.pass()
				records += n
				r.err = err
			}
			ns := float64(time.Since(begin)) / float64(records)
			if r.ns == 0 || ns < r.ns {
				r.ns = ns
			}
			results[c.name] = r
		}
	}
	return results
}

func allocs(c contender) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := c.pass()
	runtime.ReadMemStats(&after)
	if err != nil || n == 0 {
		return 0
	}
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}
