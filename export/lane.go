package export

import (
	"fmt"
	"slices"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// Streams says how what is exported is spread over the streams of a session,
// where it has several (RFC 7011, Section 10.2.6). A Template always goes the
// way of the data it describes, so that none overtakes it.
type Streams uint8

const (
	// StreamsOfTransport is one stream for all; but one for each Observation
	// Domain where streams are Transport Sessions of their own.
	StreamsOfTransport Streams = iota
	// SingleStream is one for all.
	SingleStream
	// StreamPerDomain is one for each Observation Domain.
	StreamPerDomain
	// StreamPerTemplate is one for each Template, with the rules of RFC 6526
	// on SCTP. The id of a Template that was withdrawn is free at once, so it
	// is for transports that carry withdrawals. Where streams are Transport
	// Sessions it is StreamPerDomain: a session has all Templates of a domain.
	StreamPerTemplate
)

var streamNames = [...]string{"", "single", "per-domain", "per-template"}

// ParseStreams reads what String writes.
func ParseStreams(s string) (Streams, error) {
	if i := slices.Index(streamNames[:], s); i >= 0 {
		return Streams(i), nil
	}
	return 0, fmt.Errorf("streams %q: want single, per-domain or per-template", s)
}

// String is single, per-domain or per-template; nothing for what the transport
// decides.
func (s Streams) String() string {
	if int(s) < len(streamNames) {
		return streamNames[s]
	}
	return fmt.Sprintf("streams %d", s)
}

const (
	// laneStride sets the streams of Observation Domains apart that have one
	// for each Template.
	laneStride = 16
	// reservedIDs are the highest ids of Templates: with StreamPerTemplate they
	// are the sessions' (reliabilityTemplate).
	reservedIDs = 4096
	// maxOpen bounds the messages being packed.
	maxOpen = 1024
)

// A lane packs what goes the same way on every session: the records of an
// Observation Domain, or with StreamPerTemplate those of a Template id, which
// never changes its lane. Guarded by Exporter.mu.
type lane struct {
	dom     *domain
	open    *message  // being packed; nil if none
	last    *Template // of what was packed last
	at      int       // of it in Exporter.packing
	builder ipfix.Builder
	queued  int // storage of its messages in the queue
	// dropped counts Data Records lost since the last message was sealed;
	// lost those of messages given up since the last one was sent.
	dropped, lost uint32
}

// lane returns that of a Template id.
func (d *domain) lane(id uint16) *lane {
	if d.lanes == nil {
		return &d.main
	}
	l := d.lanes[id]
	if l == nil {
		l = &lane{dom: d}
		d.lanes[id] = l
	}
	return l
}

// spread is how a session with these properties is used.
func (s Streams) spread(p transport.Properties) Streams {
	switch {
	case p.Streams <= 1 || s == SingleStream:
		return SingleStream
	case s == StreamsOfTransport && !p.Channels:
		return SingleStream
	case s == StreamPerTemplate && !p.Channels:
		return StreamPerTemplate
	}
	return StreamPerDomain
}

// stream is the one that a Template of the domain, and its data, goes on.
func (s *session) stream(d *domain, id uint16) uint16 {
	switch s.spread {
	case StreamPerDomain:
		return uint16(d.index % s.props.Streams)
	case StreamPerTemplate:
		return uint16((d.index*laneStride + int(id) - ipfix.MinDataSetID) % s.props.Streams)
	}
	return 0
}

// streamOf is the message's.
func (s *session) streamOf(m *message) uint16 {
	if len(m.uses) == 0 {
		return s.stream(m.dom, ipfix.MinDataSetID)
	}
	return s.stream(m.dom, m.uses[0].ID)
}

// seq is the Sequence Number of the domain's next message on a stream: the
// Data Records sent so far there, and those that should have been but were
// dropped (RFC 7011, Section 3.1).
func (s *session) seq(sd *sessionDomain, stream uint16) *uint32 {
	i := 0
	if s.spread == StreamPerTemplate {
		i = int(stream)
	}
	for len(sd.seqs) <= i {
		sd.seqs = append(sd.seqs, 0)
	}
	return &sd.seqs[i]
}

// run is how many Templates from the first on go on its stream.
func (s *session) run(d *domain, list []*ipfix.Template) (stream uint16, n int) {
	stream = s.stream(d, list[0].ID)
	for n = 1; n < len(list) && s.stream(d, list[n].ID) == stream; n++ {
	}
	return stream, n
}

// nests reports whether records of the Template can hold records of others.
func nests(t *ipfix.Template) bool {
	return slices.ContainsFunc(t.Fields, func(f ipfix.Field) bool {
		return f.Type == ie.SubTemplateList || f.Type == ie.SubTemplateMultiList
	})
}
