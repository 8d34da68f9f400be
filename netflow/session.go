package netflow

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	// DefaultMaxTemplates bounds the templates of a session, of all its
	// domains: real exporters have tens.
	DefaultMaxTemplates = 4096
	// DefaultMaxHeld bounds the octets that wait for their template.
	DefaultMaxHeld = 1 << 20
	// maxFaults bounds the errors that one datagram is reported with.
	maxFaults = 16
)

// Config of a Session; the zero value works.
type Config struct {
	Registry     *ie.Registry // nil: IANA's
	MaxTemplates int          // 0: DefaultMaxTemplates
	MaxHeld      int          // octets; 0: DefaultMaxHeld, negative: none
}

// Stats counts what a Session has met.
type Stats struct {
	Packets          uint64
	PacketsMalformed uint64 // at least one fault within
	Templates        uint64 // received, repetitions too, options templates included
	TemplatesRefused uint64 // illegal, or too many
	Records          uint64 // given out
	SetsHeld         uint64 // came before their template
	SetsUndecodable  uint64 // held ones given up, and those that could not be held
	OctetsHeld       uint64 // at present
}

// Data is one data set: the records of one template from one datagram. It
// and what it holds are valid during the call that gives it.
type Data struct {
	Domain     uint32 // Source ID; of version 5 engine type and id
	ExportTime uint32 // UNIX seconds
	Template   *ipfix.Template
	Body       []byte
	Records    int
}

// A Session is the state of one exporter, which is one address and port. It
// is not safe for concurrent use.
type Session struct {
	cfg       Config
	templates map[key]*plan
	held      []heldSet
	v5        *plan
	out       []byte // records with times appended
	data      Data   // what emit is given
	specs     []ipfix.FieldSpec
	stats     Stats
	faults    []error
}

type key struct {
	domain uint32
	id     uint16
}

// A heldSet waits for its template, with what is needed of its header.
type heldSet struct {
	key
	clock
	body []byte
}

// A clock relates the exporter's uptime to absolute time.
type clock struct {
	export uint32 // UNIX seconds
	unixMS uint64 // the same moment in milliseconds
	uptime uint32 // milliseconds since boot
}

// absolute turns a time since boot into milliseconds since 1970. Uptime wraps
// after 49.7 days; what is meant is within half of that of the header's.
func (c clock) absolute(sinceBoot uint32) uint64 {
	return uint64(max(0, int64(c.unixMS)+int64(int32(sinceBoot-c.uptime))))
}

// NewSession begins without any template.
func NewSession(cfg Config) *Session {
	if cfg.Registry == nil {
		cfg.Registry = ie.IANA()
	}
	if cfg.MaxTemplates == 0 {
		cfg.MaxTemplates = DefaultMaxTemplates
	}
	if cfg.MaxHeld == 0 {
		cfg.MaxHeld = DefaultMaxHeld
	}
	return &Session{cfg: cfg, templates: map[key]*plan{}}
}

// Stats tells what has been met so far.
func (s *Session) Stats() Stats { return s.stats }

// Packet reads one datagram and calls emit for each data set that can be
// decoded, held ones that a template of this datagram fits included. The
// error joins the *ipfix.ParseErrors of what could not be read.
func (s *Session) Packet(pkt []byte, emit func(*Data)) error {
	s.stats.Packets++
	s.faults = nil
	switch v := Version(pkt); {
	case v == 9:
		s.packetV9(pkt, emit)
	case v == 5:
		s.packetV5(pkt, emit)
	case len(pkt) < 2:
		s.fault(0, "version", ipfix.ErrTruncated)
	default:
		s.fault(0, "version", fmt.Errorf("%d is not NetFlow 9 or 5", binary.BigEndian.Uint16(pkt)))
	}
	if s.faults == nil {
		return nil
	}
	s.stats.PacketsMalformed++
	return errors.Join(s.faults...)
}

func (s *Session) fault(offset int, field string, err error) {
	if len(s.faults) < maxFaults {
		s.faults = append(s.faults, &ipfix.ParseError{Offset: offset, Field: field, Err: err})
	}
}

// Pending calls emit for each template that held data still waits for, at the
// end of input.
func (s *Session) Pending(emit func(domain uint32, template uint16, octets int)) {
	for _, h := range s.held {
		emit(h.domain, h.id, len(h.body))
	}
}

// hold keeps a set until its template comes, the newest ones if there are too
// many.
func (s *Session) hold(k key, c clock, body []byte) {
	s.stats.SetsHeld++
	if len(body) > s.cfg.MaxHeld {
		s.stats.SetsUndecodable++
		return
	}
	drop := 0
	for s.stats.OctetsHeld+uint64(len(body)) > uint64(s.cfg.MaxHeld) {
		s.stats.OctetsHeld -= uint64(len(s.held[drop].body))
		s.stats.SetsUndecodable++
		drop++
	}
	s.held = append(s.held[:0], s.held[drop:]...)
	s.held = append(s.held, heldSet{k, c, append([]byte(nil), body...)})
	s.stats.OctetsHeld += uint64(len(body))
}

// release gives out what waited for a template.
func (s *Session) release(k key, p *plan, emit func(*Data)) {
	kept := s.held[:0]
	for _, h := range s.held {
		if h.key != k {
			kept = append(kept, h)
			continue
		}
		s.stats.OctetsHeld -= uint64(len(h.body))
		s.give(k.domain, p, h.clock, h.body, emit)
	}
	clear(s.held[len(kept):])
	s.held = kept
}

func (s *Session) give(domain uint32, p *plan, c clock, body []byte, emit func(*Data)) {
	n := len(body) / p.wireLen
	if n == 0 {
		return
	}
	s.stats.Records += uint64(n)
	body = body[:n*p.wireLen]
	if p.first >= 0 || p.last >= 0 {
		s.out = p.appendTimes(s.out[:0], body, c)
		body = s.out
	}
	s.data = Data{Domain: domain, ExportTime: c.export, Template: p.template, Body: body, Records: n}
	emit(&s.data)
}
