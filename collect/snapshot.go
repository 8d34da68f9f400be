package collect

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// snapshotPatience is how long a snapshot waits for a session,
	// maxBusy for how many sessions that are held up.
	snapshotPatience = 5 * time.Millisecond
	maxBusy          = 4
)

// Stats returns a snapshot.
func (c *Collector) Stats() Stats {
	exporters, busy := c.exporterStats()
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Stats{
		SessionStats: c.past, Reported: c.reported, Busy: busy,
		SessionsOpened: c.opened, SessionsResumed: c.resumed, SessionsRefused: c.refused,
		SessionsOpen: len(c.open), Exporters: len(c.exporters) + int(c.forgotten),
		Faults: make(map[string]uint64),
	}
	for i := range exporters {
		st.add(&exporters[i].SessionStats)
		st.Reported.add(exporters[i].Reported)
		for _, s := range exporters[i].Sessions {
			for k, n := range s.Faults {
				st.Faults[k] += n
			}
		}
	}
	for k, n := range c.faults {
		st.Faults[k] += n
	}
	st.Budget, st.BudgetRefused = c.budget.Used(), c.budget.Refused()
	for _, o := range c.outputs {
		st.Sinks = append(st.Sinks, o.snapshot())
	}
	st.Barriers.Waiting, st.Barriers.Lost = c.flusher.pending()
	return st
}

// ExporterStats returns the account of each exporter, by identity, with its
// open sessions and their streams.
func (c *Collector) ExporterStats() []ExporterStats {
	list, _ := c.exporterStats()
	slices.SortFunc(list, func(a, b ExporterStats) int { return strings.Compare(a.Identity, b.Identity) })
	return list
}

// exporterStats sums exporters up; busy counts sessions that a sink holds up.
func (c *Collector) exporterStats() (list []ExporterStats, busy int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.exporters {
		st := ExporterStats{
			Identity: e.identity, SessionStats: e.past, Reported: e.reported(),
			SessionsOpened: e.opened, SessionsResumed: e.resumed,
		}
		for r := range e.sessions {
			snap := r.snap.Load()
			if busy < maxBusy && lockWithin(&r.mu, snapshotPatience) {
				now := r.snapshot()
				r.mu.Unlock()
				snap = &now
			} else {
				busy++
			}
			if snap == nil {
				continue
			}
			st.add(&snap.SessionStats)
			st.Sessions = append(st.Sessions, *snap)
		}
		list = append(list, st)
	}
	return list, busy
}

// stats sums the session up; r.mu is held.
func (r *receiver) stats() SessionStats {
	st := SessionStats{Counters: r.n, Sequence: r.past, Templates: r.store.Stats()}
	for _, d := range r.domains {
		sum := d.sequence()
		st.Sequence.add(&sum)
	}
	return st
}

// snapshot is stats with the streams; r.mu is held.
func (r *receiver) snapshot() SessionSnapshot {
	snap := SessionSnapshot{
		Session: r.peer.Session, Remote: r.peer.Remote.String(), Scheme: r.peer.Scheme,
		SessionStats: r.stats(), Faults: maps.Clone(r.faults),
	}
	lossy := r.perStream.lossy()
	for id, d := range r.domains {
		for i := range d.streams {
			s := &d.streams[i]
			snap.Streams = append(snap.Streams, StreamStats{
				Domain: id, Stream: s.id, Received: s.received, CountsItself: s.after, SequenceStats: s.SequenceStats,
				Lossy: lossy[perTemplateStream{id, s.id}],
			})
		}
	}
	return snap
}

// tellLoss logs what has changed in the account of lost records; r.mu is held.
func (r *receiver) tellLoss() {
	for id, d := range r.domains {
		for i := range d.streams {
			s := &d.streams[i]
			if s.Lost+s.Unreadable == s.logged {
				continue
			}
			n, ok := r.allow()
			if !ok {
				return
			}
			s.logged = s.Lost + s.Unreadable
			r.log().Warn("loss account changed", unlogged([]any{
				"domain", id, "stream", s.id, "lost", s.Lost, "undecodable", s.Unreadable,
				"late", s.Late, "duplicate", s.Duplicate, "restarts", s.Restarts, "received", s.received,
			}, n)...)
		}
	}
}

// tell logs the failures and recoveries of the sink.
func (o *output) tell(log *slog.Logger) {
	if n := o.stuck.Load(); n > 0 {
		if n == stallAfter {
			log.Error("sink stalls", "sink", o.name)
			o.toldStall = true
		}
		return
	}
	if o.toldStall {
		log.Info("sink goes on", "sink", o.name)
		o.toldStall = false
	}
	st := o.snapshot()
	switch {
	case st.Error != "" && (st.Error != o.toldError || st.Dropped != o.toldDropped):
		log.Error("sink fails", "sink", o.name, "error", st.Error, "dropped", st.Dropped)
	case st.Error == "" && o.toldError != "":
		log.Info("sink works again", "sink", o.name, "dropped", st.Dropped)
	}
	o.toldError, o.toldDropped = st.Error, st.Dropped
}

// lockWithin locks mu unless that takes longer than patience: whoever shows
// counters does not wait for a session that a sink holds up.
func lockWithin(mu *sync.Mutex, patience time.Duration) bool {
	for wait := 10 * time.Microsecond; ; wait *= 2 {
		if mu.TryLock() {
			return true
		}
		if patience <= 0 {
			return false
		}
		time.Sleep(wait)
		patience -= wait
	}
}
