package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// sampling is the time between two looks at who waits for a processor.
const sampling = 100 * time.Millisecond

// starvation samples how long a program's threads have waited for a processor
// while they could have worked, until the program ends.
func (e *Exporter) starvation() {
	tick := time.NewTicker(sampling)
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
		sum += int64(stolen())
		e.waits.Lock()
		if n := len(e.waited); n > 0 { // threads may end
			sum = max(sum, int64(e.waited[n-1]))
		}
		e.waited = append(e.waited, time.Duration(sum))
		e.waits.Unlock()
		select {
		case <-e.exited:
			return
		case <-tick.C:
		}
	}
}

// stolen is the time for which this machine's processors, since it began, have
// been another machine's: nobody's waiting shows that.
func stolen() time.Duration {
	const tick = 10 * time.Millisecond // of /proc/stat
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var times [8]int64 // user, nice, system, idle, iowait, irq, softirq, steal
	if _, err := fmt.Sscanf(string(raw), "cpu %d %d %d %d %d %d %d %d",
		&times[0], &times[1], &times[2], &times[3], &times[4], &times[5], &times[6], &times[7]); err != nil {
		return 0
	}
	return time.Duration(times[7]) * tick
}

// Starved is how long the program's threads, together, have waited for a
// processor, that other machines had included.
func (e *Exporter) Starved() time.Duration {
	e.waits.Lock()
	defer e.waits.Unlock()
	if len(e.waited) == 0 {
		return 0
	}
	return e.waited[len(e.waited)-1] - e.waited[0]
}

// SwapGap is the longest time, as its summary tells, for which no data could
// leave while sessions were replaced; 0 if the machine may have let it wait for
// a processor for as long at one stretch: where others work as well that
// happens, too.
func (e *Exporter) SwapGap(sum map[string]float64) time.Duration {
	gap := time.Duration(sum["max_swap_gap_us"]) * time.Microsecond
	e.waits.Lock()
	defer e.waits.Unlock()
	// It lies within so many samples.
	within := int(gap/sampling) + 2
	for i := range e.waited {
		if e.waited[min(i+within, len(e.waited)-1)]-e.waited[i] >= gap {
			return 0
		}
	}
	return gap
}
