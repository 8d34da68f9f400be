package state

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// price is how much longer than a save the pause behind it is, at least: to
// keep a large state costs at most this part of one processor.
const price = 50

// A File is what a Keeper writes when it has changed.
type File struct {
	Name string
	// Every is the shortest time between two saves.
	Every time.Duration
	// Changes counts what has happened to the state; another number than at
	// the last save calls for a new one.
	Changes func() uint64
	// Append appends the state as it is to be written to dst, or reports that
	// it cannot be had just now: then it is asked again.
	Append func(dst []byte) ([]byte, bool)
}

// A Keeper saves files while the process runs, so that kill -9 costs no more
// than what came after the last save.
type Keeper struct {
	dir  *Dir
	log  *slog.Logger
	stop chan struct{}
	wg   sync.WaitGroup
	once sync.Once

	files []*kept // of the goroutine, then of Close
	buf   []byte
}

type kept struct {
	File
	saved  uint64    // Changes at the last save
	next   time.Time // no save before it
	failed string    // what the log was told
}

// Keep saves the files from now on. Close ends its goroutine.
func Keep(dir *Dir, log *slog.Logger, files ...File) *Keeper {
	k := &Keeper{dir: dir, log: log, stop: make(chan struct{})}
	tick := time.Minute
	for _, f := range files {
		k.files = append(k.files, &kept{File: f, saved: f.Changes()})
		tick = min(tick, max(f.Every/2, 10*time.Millisecond))
	}
	k.wg.Go(func() { // ends with stop
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-k.stop:
				return
			case now := <-ticker.C:
				for _, f := range k.files {
					if !now.Before(f.next) {
						k.save(f)
					}
				}
			}
		}
	})
	return k
}

// save writes a file if it has changed. The log hears of a failure once, not
// at each attempt.
func (k *Keeper) save(f *kept) {
	changes, start := f.Changes(), time.Now()
	if changes == f.saved {
		return
	}
	b, ok := f.Append(k.buf[:0])
	if !ok {
		f.next = start.Add(f.Every)
		return
	}
	err := k.dir.Write(f.Name, b)
	clear(b[:cap(b)]) // secrets do not lie about
	if k.buf = b; cap(b) > 1<<20 {
		k.buf = nil
	}
	end := time.Now()
	f.next = end.Add(max(f.Every, price*end.Sub(start)))
	switch {
	case err == nil:
		if f.failed != "" {
			k.log.Info("state is kept again", "file", f.Name)
		}
		f.saved, f.failed = changes, ""
	case err.Error() != f.failed:
		f.failed = err.Error()
		k.log.Error("state is not kept", "file", f.Name, "err", err)
	}
}

// Close saves what has changed since, and ends.
func (k *Keeper) Close() error {
	var failed error
	k.once.Do(func() {
		close(k.stop)
		k.wg.Wait()
		for _, f := range k.files {
			k.save(f)
			if f.failed != "" {
				failed = fmt.Errorf("state %s: %s", f.Name, f.failed)
			}
		}
	})
	return failed
}
