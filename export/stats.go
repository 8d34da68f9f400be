package export

import (
	"syscall"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// Summary is what an Exporter has done since it began, with the names of the
// --summary file.
type Summary struct {
	// RecordsExported were handed over by the source, options records among
	// them, dropped ones too.
	RecordsExported uint64 `json:"records_exported"`
	// RecordsSent of those are in messages; replays are not counted again.
	RecordsSent uint64 `json:"records_sent"`
	// RecordsDropped were handed over but not sent.
	RecordsDropped uint64 `json:"records_dropped"`
	// RecordsReplayed were sent once more, on another session.
	RecordsReplayed uint64 `json:"records_replayed"`
	// RecordsGivenUp of those sent were given up by the transport, which was
	// allowed to (SCTP's partial reliability).
	RecordsGivenUp uint64 `json:"records_given_up,omitempty"`
	// RecordsUnconfirmed were sent, but neither confirmed nor sent again
	// before the Exporter ended.
	RecordsUnconfirmed uint64 `json:"records_unconfirmed"`
	// RecordsUnkept were not confirmed when RetainBytes made them go: had
	// their session died, they would not have been sent again.
	RecordsUnkept  uint64 `json:"records_unkept,omitempty"`
	RecordsSpooled uint64 `json:"records_spooled"`
	// RecordsPending wait in the spool, those of earlier runs included.
	RecordsPending uint64 `json:"records_pending,omitempty"`
	// ControlRecordsSent are options records of the Exporter itself, about
	// the export (RFC 7011, Section 4); they are in no other counter.
	ControlRecordsSent uint64 `json:"control_records_sent"`
	MessagesSent       uint64 `json:"messages_sent"`
	TemplatesSent      uint64 `json:"templates_sent"`
	SessionsOpened     uint64 `json:"sessions_opened"`
	SessionsResumed    uint64 `json:"sessions_resumed"`
	Rotations          uint64 `json:"rotations"`
	// RotationsByCause are these Rotations by what they were for.
	RotationsByCause   RotationCauses `json:"rotations_by_cause"`
	HeartbeatsSent     uint64         `json:"heartbeats_sent"`
	HeartbeatsAnswered uint64         `json:"heartbeats_answered"`
	// CollectorsLost are sessions with data that came to a bad end: the
	// collector answered no more, refused, or the transport failed; sessions
	// replaced in order whose collector did not confirm what they had carried
	// are among them. CollectorsClosed are those that the collector ended in
	// order (close_notify): it was told to stop. After either, what it had not
	// confirmed is sent again on the next session, and only that.
	CollectorsLost   uint64 `json:"collectors_lost"`
	CollectorsClosed uint64 `json:"collectors_closed"`
	// CollectorsStalled is how often a collector took sessions, but confirmed
	// nothing for longer than it takes to call one dead that takes none.
	CollectorsStalled uint64 `json:"collectors_stalled"`
	// ChannelsStalled is how often a stream (a channel of MTA-TLS) stood still
	// while its collector confirmed what others carried; ChannelsRenewed how
	// often one was given up, since that lasted or the collector had ended it,
	// and what it had not confirmed sent again on its next channel.
	ChannelsStalled uint64 `json:"channels_stalled,omitempty"`
	ChannelsRenewed uint64 `json:"channels_renewed,omitempty"`
	// MaxSwapGapUS is the longest time, in microseconds, that data had to
	// wait for work on another session: handshake results, priming, proof,
	// swap, drain.
	MaxSwapGapUS uint64  `json:"max_swap_gap_us"`
	CPUSeconds   float64 `json:"cpu_seconds"` // of the process, user and system
}

// Stats is a snapshot of what Summary does not tell.
type Stats struct {
	Summary
	BytesSent       uint64
	SendErrors      uint64 // failures on a living session; each was tried again
	MessagesSplit   uint64 // repacked for a session that takes less
	QueuedMessages  int
	QueuedBytes     int
	UnconfirmedSent uint64 // octets that no probe had confirmed when a session ended
	Session         *transport.SessionStats
	Stalled         bool        // the session's collector confirms nothing
	StalledChannels int         // of the session, while others go on
	Spool           spool.Stats // of this run; all 0 without a spool
}

// counters are guarded by Exporter.mu.
type counters struct {
	handed, sent, dropped               uint64
	control, replayed                   uint64
	givenUp                             uint64 // by a transport that was allowed to
	unconfirmed                         uint64 // sent, lost with a session, not sent again
	unkept                              uint64 // sent, not confirmed, let go for want of room
	rotations                           uint64
	causes                              RotationCauses
	maxGap                              time.Duration
	flows                               uint64 // sent, options records left out
	droppedFlows                        uint64
	droppedPackets, droppedOctets       uint64
	firstDrop, lastDrop                 time.Time
	messages, octets, templates         uint64
	opened, resumed, lost, closed       uint64
	stalled                             uint64
	channelsStalled, channelsRenewed    uint64
	probesSent, probesAnswered          uint64 // on sessions that ended
	sendErrors, split, unconfirmedAtEnd uint64
}

// countDropped accounts for a record that will not be sent: the sequence
// number and the statistics of RFC 7011, Section 4.3 tell the collector.
// Exporter.mu is held.
func (e *Exporter) countDropped(t *Template, rec []byte) {
	e.n.dropped++
	if t.Scope > 0 {
		return
	}
	e.countDroppedFlows(1)
	var r ipfix.Records
	r.Reset(t.Template, rec)
	if !r.Next() {
		return
	}
	for _, i := range t.packets {
		e.n.droppedPackets += r.Value(i).Num
	}
	for _, i := range t.octets {
		e.n.droppedOctets += r.Value(i).Num
	}
}

// countDroppedFlows notes when flow records were dropped. Exporter.mu is held.
func (e *Exporter) countDroppedFlows(n uint64) {
	e.n.lastDrop = time.Now()
	if e.n.droppedFlows == 0 {
		e.n.firstDrop = e.n.lastDrop
	}
	e.n.droppedFlows += n
}

// countCorrupt counts what the spool has lost: the disk garbled it, and nobody
// can tell any more what it was. Exporter.mu is held.
func (e *Exporter) countCorrupt() {
	b := &e.back
	records, earlier := b.spool.Corrupt()
	if n := records - b.corrupt[0]; n > 0 {
		e.n.handed += earlier - b.corrupt[1]
		e.n.dropped += n
		e.countDroppedFlows(n)
	}
	b.corrupt = [2]uint64{records, earlier}
}

// Summary returns the counters of the --summary file.
func (e *Exporter) Summary() Summary { return e.Stats().Summary }

// Stats returns a snapshot.
func (e *Exporter) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := &e.n
	st := Stats{
		Summary: Summary{
			RecordsExported:    n.handed,
			RecordsSent:        n.sent,
			RecordsDropped:     n.dropped,
			RecordsReplayed:    n.replayed,
			RecordsGivenUp:     n.givenUp,
			RecordsUnconfirmed: n.unconfirmed,
			RecordsUnkept:      n.unkept,
			RecordsSpooled:     e.back.spilled,
			ControlRecordsSent: n.control,
			MessagesSent:       n.messages,
			TemplatesSent:      n.templates,
			SessionsOpened:     n.opened,
			SessionsResumed:    n.resumed,
			HeartbeatsSent:     n.probesSent,
			HeartbeatsAnswered: n.probesAnswered,
			Rotations:          n.rotations,
			RotationsByCause:   n.causes,
			CollectorsLost:     n.lost,
			CollectorsClosed:   n.closed,
			CollectorsStalled:  n.stalled,
			ChannelsStalled:    n.channelsStalled,
			ChannelsRenewed:    n.channelsRenewed,
			MaxSwapGapUS:       uint64(n.maxGap.Microseconds()),
			CPUSeconds:         cpuSeconds(),
		},
		BytesSent:       n.octets,
		SendErrors:      n.sendErrors,
		MessagesSplit:   n.split,
		QueuedMessages:  e.queue.len(),
		QueuedBytes:     e.queue.octets,
		UnconfirmedSent: n.unconfirmedAtEnd,
		Stalled:         e.stalls,
		StalledChannels: e.standing,
	}
	if e.session != nil {
		s := e.session.Stats()
		st.Session = &s
		st.HeartbeatsSent += s.ProbesSent
		st.HeartbeatsAnswered += s.ProbesAnswered
	}
	if e.back.spool != nil {
		st.Spool = e.back.spool.Stats()
		st.RecordsPending = st.Spool.RecordsPending
	}
	return st
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
