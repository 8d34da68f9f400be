package config

import (
	"sync"
	"time"
)

// Every calls f once a period until stop, which waits for a call under way. A
// period of 0 or below is none.
func Every(period time.Duration, f func()) (stop func()) {
	if period <= 0 {
		return func() {}
	}
	ended := make(chan struct{})
	tick := time.NewTicker(period)
	var wg sync.WaitGroup
	wg.Go(func() { // ends with stop
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				f()
			}
		}
	})
	return sync.OnceFunc(func() {
		tick.Stop()
		close(ended)
		wg.Wait()
	})
}
