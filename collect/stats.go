package collect

import (
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

// Counters count what came in. Every message is in one of Messages' parts, and
// every set of a message that could be framed in one of the Sets.
type Counters struct {
	Messages        uint64 `json:"messages"` // everything received, whatever it was
	Octets          uint64 `json:"octets"`
	Malformed       uint64 `json:"malformed"`       // messages with at least one fault
	OtherVersions   uint64 `json:"otherVersions"`   // of Malformed: NetFlow v5, v9 and others
	MessagesRefused uint64 `json:"messagesRefused"` // of domains beyond the bounds
	TrailingOctets  uint64 `json:"trailingOctets"`  // behind the end of messages

	TemplateSets    uint64 `json:"templateSets"`
	DataSets        uint64 `json:"dataSets"`        // decoded, the released ones not among them
	EmptySets       uint64 `json:"emptySets"`       // data sets without a record
	FaultySets      uint64 `json:"faultySets"`      // data sets whose end could not be decoded
	UnframedSets    uint64 `json:"unframedSets"`    // a message's rest that is no set
	ReservedSets    uint64 `json:"reservedSets"`    // ids 0, 1 and 4 to 255
	EarlySets       uint64 `json:"earlySets"`       // data sets that came before their template
	UndecodableSets uint64 `json:"undecodableSets"` // of those: never decoded
	ReleasedSets    uint64 `json:"releasedSets"`    // of those: decoded later

	Records         uint64 `json:"records"`         // Data Records given to the sinks
	ControlRecords  uint64 `json:"controlRecords"`  // about the export itself: interpreted
	ControlIgnored  uint64 `json:"controlIgnored"`  // of those: made no sense
	TemplateRecords uint64 `json:"templateRecords"` // definitions and withdrawals
	UnknownElements uint64 `json:"unknownElements"` // fields of new templates not in any registry
	Barriers        uint64 `json:"barriers"`        // asked for by peers

	PerStreamSessions uint64 `json:"perStreamSessions"` // that began to keep RFC 6526
	PerStreamBroken   uint64 `json:"perStreamBroken"`   // of those: broke it
}

func (c *Counters) add(o *Counters) {
	c.Messages += o.Messages
	c.Octets += o.Octets
	c.Malformed += o.Malformed
	c.OtherVersions += o.OtherVersions
	c.MessagesRefused += o.MessagesRefused
	c.TrailingOctets += o.TrailingOctets
	c.TemplateSets += o.TemplateSets
	c.DataSets += o.DataSets
	c.EmptySets += o.EmptySets
	c.FaultySets += o.FaultySets
	c.UnframedSets += o.UnframedSets
	c.ReservedSets += o.ReservedSets
	c.EarlySets += o.EarlySets
	c.UndecodableSets += o.UndecodableSets
	c.ReleasedSets += o.ReleasedSets
	c.Records += o.Records
	c.ControlRecords += o.ControlRecords
	c.ControlIgnored += o.ControlIgnored
	c.TemplateRecords += o.TemplateRecords
	c.UnknownElements += o.UnknownElements
	c.Barriers += o.Barriers
	c.PerStreamSessions += o.PerStreamSessions
	c.PerStreamBroken += o.PerStreamBroken
}

// SessionStats is the account of one session, or of several.
type SessionStats struct {
	Counters
	Sequence  SequenceStats        `json:"sequence"`
	Templates templates.StoreStats `json:"templates"`
}

func (s *SessionStats) add(o *SessionStats) {
	s.Counters.add(&o.Counters)
	s.Sequence.add(&o.Sequence)
	s.Templates.Add(&o.Templates)
}

// Stats is a snapshot of a Collector since it began.
type Stats struct {
	SessionStats
	SessionsOpened  uint64            `json:"sessionsOpened"`
	SessionsResumed uint64            `json:"sessionsResumed"`
	SessionsRefused uint64            `json:"sessionsRefused"`
	SessionsOpen    int               `json:"sessionsOpen"`
	Exporters       int               `json:"exporters"`
	Reported        Reported          `json:"reported"`
	Barriers        BarrierStats      `json:"barrierStats"`
	Faults          map[string]uint64 `json:"faults"` // by what could not be read
	Sinks           []SinkStats       `json:"sinks"`
	// Budget is what sessions took of the bounds of all, beyond their own
	// shares; BudgetRefused how often there was nothing left.
	Budget        templates.Limits `json:"budget"`
	BudgetRefused uint64           `json:"budgetRefused"`
	// Busy counts sessions whose numbers are some seconds old, because a sink
	// holds them up.
	Busy int `json:"busy"`
}

// BarrierStats says what became of the peers' barriers.
type BarrierStats struct {
	Waiting int    `json:"waiting"`
	Lost    uint64 `json:"lost"` // never answered: a sink lost records, or the session ended
}

// ExporterStats is the account of one exporter.
type ExporterStats struct {
	Identity string `json:"identity"`
	SessionStats
	Reported        Reported          `json:"reported"`
	SessionsOpened  uint64            `json:"sessionsOpened"`
	SessionsResumed uint64            `json:"sessionsResumed"`
	Sessions        []SessionSnapshot `json:"sessions"` // open now
}

// SessionSnapshot is the account of one open session.
type SessionSnapshot struct {
	Session uint64 `json:"session"`
	Remote  string `json:"remote"`
	Scheme  string `json:"scheme"`
	SessionStats
	Streams []StreamStats     `json:"streams"`
	Faults  map[string]uint64 `json:"faults,omitempty"` // by what could not be read
}

// StreamStats is the loss account of one stream of one Observation Domain.
type StreamStats struct {
	Domain   uint32 `json:"domain"`
	Stream   uint16 `json:"stream"`
	Received uint64 `json:"received"` // Data Records, all kinds
	// CountsItself: the exporter's Sequence Numbers include their own message,
	// against RFC 7011, Section 3.1; the account allows for it.
	CountsItself bool `json:"countsItself,omitempty"`
	// Lossy are the Templates whose records may be lost on the stream, as far
	// as the exporter keeps RFC 6526: what is lost is theirs.
	Lossy []uint16 `json:"lossy,omitempty"`
	SequenceStats
}

// Summary is what the collector writes with --summary. Records are those given
// to the sinks; the options records that describe the export itself are
// counted apart.
type Summary struct {
	RecordsReceived    uint64 `json:"records_received"`
	RecordsLost        uint64 `json:"records_lost"`
	RecordsUndecodable uint64 `json:"records_undecodable"`
	RecordsWritten     uint64 `json:"records_written"` // by every sink
	MessagesReceived   uint64 `json:"messages_received"`
	MessagesMalformed  uint64 `json:"messages_malformed"`
	TemplatesReceived  uint64 `json:"templates_received"`
	SessionsOpened     uint64 `json:"sessions_opened"`
	SessionsResumed    uint64 `json:"sessions_resumed"`
	DataBeforeTemplate uint64 `json:"data_before_template"` // data sets
	HeartbeatsAnswered uint64 `json:"heartbeats_answered"`
	SocketDrops        uint64 `json:"socket_drops"`

	ControlRecordsReceived uint64 `json:"control_records_received"`
	RecordsLate            uint64 `json:"records_late"`
	RecordsDuplicate       uint64 `json:"records_duplicate"`
	RecordsUnwritten       uint64 `json:"records_unwritten"` // by a sink that failed, all sinks together
	RecordsDroppedReported uint64 `json:"records_dropped_reported"`
	ExporterRestarts       uint64 `json:"exporter_restarts"`
	Exporters              int    `json:"exporters"`

	CPUSeconds float64 `json:"cpu_seconds"` // by the caller
}

// Summary of these Stats and of the listeners they came through.
func (s *Stats) Summary(listeners ...transport.ListenerStats) Summary {
	m := Summary{
		RecordsReceived:        s.Records,
		RecordsLost:            s.Sequence.Lost,
		RecordsUndecodable:     s.Sequence.Unreadable,
		MessagesReceived:       s.Messages,
		MessagesMalformed:      s.Malformed,
		TemplatesReceived:      s.TemplateRecords,
		SessionsOpened:         s.SessionsOpened,
		SessionsResumed:        s.SessionsResumed,
		DataBeforeTemplate:     s.EarlySets,
		ControlRecordsReceived: s.ControlRecords,
		RecordsLate:            s.Sequence.Late,
		RecordsDuplicate:       s.Sequence.Duplicate,
		RecordsDroppedReported: s.Reported.DroppedRecords,
		ExporterRestarts:       s.Sequence.Restarts,
		Exporters:              s.Exporters,
	}
	for i, k := range s.Sinks {
		if i == 0 || k.Written < m.RecordsWritten {
			m.RecordsWritten = k.Written
		}
		m.RecordsUnwritten += k.Dropped
	}
	for i := range listeners {
		m.HeartbeatsAnswered += listeners[i].ProbesAnswered
		m.SocketDrops += listeners[i].SocketDrops
	}
	return m
}
