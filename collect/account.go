package collect

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const (
	// keptEnded bounds the ended sessions of one exporter whose accounts are
	// kept apart, keptEndedInAll those of all exporters, keptStreams the
	// streams of each. What is beyond is in the exporter's sums.
	keptEnded      = 8
	keptEndedInAll = 4096
	keptStreams    = 64
)

// Loss is what became of Data Records on their way.
type Loss struct {
	RecordsLost        uint64 `json:"records_lost"`
	RecordsLate        uint64 `json:"records_late"`
	RecordsDuplicate   uint64 `json:"records_duplicate"`
	RecordsUndecodable uint64 `json:"records_undecodable"`
}

func lossOf(s *SequenceStats) Loss {
	return Loss{RecordsLost: s.Lost, RecordsLate: s.Late, RecordsDuplicate: s.Duplicate, RecordsUndecodable: s.Unreadable}
}

// ExporterAccount is the loss account of one exporter, in the words of the
// Summary. What the kernel dropped at a socket cannot be told by exporter: it is
// part of what their Sequence Numbers show as lost.
type ExporterAccount struct {
	Exporter               string `json:"exporter"`
	RecordsReceived        uint64 `json:"records_received"`
	ControlRecordsReceived uint64 `json:"control_records_received"`
	Loss
	RecordsDroppedReported uint64 `json:"records_dropped_reported"` // by its Exporting Process
	PacketsDroppedReported uint64 `json:"packets_dropped_reported"` // in those records
	PacketsIgnoredReported uint64 `json:"packets_ignored_reported"` // by its Metering Process
	SessionsOpened         uint64 `json:"sessions_opened"`
	SessionsResumed        uint64 `json:"sessions_resumed"`
	// Sessions are those open, and the last that ended, by their beginning.
	Sessions []SessionAccount `json:"sessions"`
}

// SessionAccount is the loss account of one Transport Session.
type SessionAccount struct {
	Session                uint64    `json:"session"`
	Remote                 string    `json:"remote"`
	Scheme                 string    `json:"scheme"`
	Resumed                bool      `json:"resumed"`
	Opened                 time.Time `json:"opened"`
	Closed                 time.Time `json:"closed,omitzero"`
	Reason                 string    `json:"reason,omitempty"` // unless the peer ended it in order
	RecordsReceived        uint64    `json:"records_received"`
	ControlRecordsReceived uint64    `json:"control_records_received"`
	Loss
	// PerStream: each Template keeps to one SCTP stream (RFC 6526).
	PerStream bool            `json:"per_stream,omitempty"`
	Streams   []StreamAccount `json:"streams"`
}

// StreamAccount is the loss account of one stream of one Observation Domain.
type StreamAccount struct {
	Domain uint32 `json:"domain"`
	Stream uint16 `json:"stream"`
	// DataRecordsReceived are Data Records of all kinds, as Sequence Numbers
	// count them.
	DataRecordsReceived uint64 `json:"data_records_received"`
	Loss
	// LossyTemplates are those whose records may be lost on the stream, if
	// PerStream: what is lost is theirs.
	LossyTemplates []uint16 `json:"lossy_templates,omitempty"`
}

// Accounts returns the loss account of each exporter, by identity.
func (c *Collector) Accounts() []ExporterAccount {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]ExporterAccount, 0, len(c.exporters))
	for _, e := range c.exporters {
		list = append(list, e.account())
	}
	slices.SortFunc(list, func(a, b ExporterAccount) int { return strings.Compare(a.Exporter, b.Exporter) })
	return list
}

// account sums the exporter up; Collector.mu is held.
func (e *exporter) account() ExporterAccount {
	reported := e.reported()
	a := ExporterAccount{
		Exporter: e.identity, SessionsOpened: e.opened, SessionsResumed: e.resumed,
		RecordsReceived: e.past.Records, ControlRecordsReceived: e.past.ControlRecords,
		RecordsDroppedReported: reported.DroppedRecords, PacketsDroppedReported: reported.DroppedPackets,
		PacketsIgnoredReported: reported.IgnoredPackets,
		Sessions:               slices.Clone(e.ended),
	}
	sum := e.past.Sequence
	for r := range e.sessions {
		snap := r.snap.Load() // of the last time there was peace
		if lockWithin(&r.mu, 0) {
			now := r.snapshot()
			r.mu.Unlock()
			snap = &now
		}
		if snap == nil {
			continue
		}
		a.RecordsReceived += snap.Records
		a.ControlRecordsReceived += snap.ControlRecords
		sum.add(&snap.Sequence)
		a.Sessions = append(a.Sessions, r.account(snap))
	}
	a.Loss = lossOf(&sum)
	slices.SortFunc(a.Sessions, func(a, b SessionAccount) int { return a.Opened.Compare(b.Opened) })
	return a
}

func (r *receiver) account(snap *SessionSnapshot) SessionAccount {
	a := SessionAccount{
		Session: snap.Session, Remote: snap.Remote, Scheme: snap.Scheme, Resumed: r.peer.Resumed, Opened: r.opened,
		RecordsReceived: snap.Records, ControlRecordsReceived: snap.ControlRecords, Loss: lossOf(&snap.Sequence),
		PerStream: snap.PerStreamSessions > snap.PerStreamBroken,
	}
	for i := range snap.Streams {
		s := &snap.Streams[i]
		a.Streams = append(a.Streams, StreamAccount{s.Domain, s.Stream, s.Received, lossOf(&s.SequenceStats), s.Lossy})
	}
	slices.SortFunc(a.Streams, func(a, b StreamAccount) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Stream, b.Stream))
	})
	a.Streams = a.Streams[:min(len(a.Streams), keptStreams)]
	return a
}

// remember keeps the account of a session that ends. r.mu and c.mu are held.
func (c *Collector) remember(r *receiver, reason error) {
	e := r.exporter
	snap := r.snapshot()
	a := r.account(&snap)
	a.Closed = c.now()
	if reason != nil {
		a.Reason = reason.Error()
	}
	// An exporter that comes and goes, or a flood of addresses, displaces
	// nobody else's.
	if n := len(e.ended); n == keptEnded || n > 0 && c.kept >= keptEndedInAll {
		e.ended = slices.Delete(e.ended, 0, 1)
		c.kept--
	}
	if c.kept < keptEndedInAll {
		a.Streams = slices.Clip(a.Streams)
		e.ended = append(e.ended, a)
		c.kept++
	}
}

// tellReported logs what an exporter says that it did not send.
func (c *Collector) tellReported(e *exporter) {
	r := e.reported()
	e.mu.Lock()
	told := e.told
	e.mu.Unlock()
	if r.DroppedRecords == told.DroppedRecords && r.DroppedPackets == told.DroppedPackets {
		return
	}
	now := c.now()
	if _, ok := e.logs.allow(now); !ok {
		return
	}
	n, ok := c.sampler.allow(now)
	if !ok {
		return
	}
	e.mu.Lock()
	e.told = r
	e.mu.Unlock()
	c.log.Warn("exporter reports that it dropped records", unlogged([]any{
		"exporter", e.identity, "records", r.DroppedRecords - told.DroppedRecords,
		"packets", r.DroppedPackets - told.DroppedPackets, "records_in_all", r.DroppedRecords,
	}, n)...)
}
