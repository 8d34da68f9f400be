package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// starvation samples how long a program's threads have waited for a processor
// while they could have worked, until the program ends.
func (e *Exporter) starvation() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", e.Cmd.Process.Pid))
		var sum, ran, waited, times int64
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				continue // the thread has ended
			}
			if _, err := fmt.Sscan(string(raw), &ran, &waited, &times); err == nil {
				sum += waited
			}
		}
		e.starved.Store(max(e.starved.Load(), sum))
		select {
		case <-e.exited:
			return
		case <-tick.C:
		}
	}
}

// Starved is how long the program's threads, together, have waited for a
// processor.
func (e *Exporter) Starved() time.Duration { return time.Duration(e.starved.Load()) }

// SwapGap is the longest time, as its summary tells, for which no data could
// leave while sessions were replaced; 0 if the machine let it wait for a
// processor for as long: where others work as well that happens, too.
func (e *Exporter) SwapGap(sum map[string]float64) time.Duration {
	gap := time.Duration(sum["max_swap_gap_us"]) * time.Microsecond
	if gap <= e.Starved() {
		return 0
	}
	return gap
}
