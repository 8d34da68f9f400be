package collect

import (
	"log/slog"
	"maps"
)

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
	for id, d := range r.domains {
		for i := range d.streams {
			s := &d.streams[i]
			snap.Streams = append(snap.Streams, StreamStats{Domain: id, Stream: s.id, Received: s.received, SequenceStats: s.SequenceStats})
		}
	}
	return snap
}

// tellLoss logs what has changed in the account of lost records; r.mu is held.
func (r *receiver) tellLoss() {
	for id, d := range r.domains {
		sum := d.sequence()
		if sum.Lost+sum.Unreadable == d.logged {
			continue
		}
		n, ok := r.allow()
		if !ok {
			continue
		}
		d.logged = sum.Lost + sum.Unreadable
		var received uint64
		for i := range d.streams {
			received += d.streams[i].received
		}
		r.log().Warn("loss account changed", "domain", id, "lost", sum.Lost, "undecodable", sum.Unreadable,
			"late", sum.Late, "duplicate", sum.Duplicate, "restarts", sum.Restarts, "received", received, "suppressed", n)
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
	st := o.snapshot(snapshotPatience)
	switch {
	case st.Error != "" && (st.Error != o.toldError || st.Dropped != o.toldDropped):
		log.Error("sink fails", "sink", o.name, "err", st.Error, "dropped", st.Dropped)
	case st.Error == "" && o.toldError != "":
		log.Info("sink works again", "sink", o.name, "dropped", st.Dropped)
	}
	o.toldError, o.toldDropped = st.Error, st.Dropped
}
