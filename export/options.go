package export

import (
	"encoding/binary"
	"fmt"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// maxOptions bounds the options records kept for sessions to come.
const maxOptions = 4096

// MeteringReport is what a Metering Process could not look at.
type MeteringReport struct {
	IgnoredPackets, IgnoredOctets uint64
	First, Last                   time.Time // when it began and was last so
}

// An optionsRecord is a Data Record defined by an Options Template.
type optionsRecord struct {
	t    *Template
	data []byte
	// after is the number of messages that must have left the queue before
	// this copy is sent: until then the record itself is on its way.
	after uint64
	// own records are made by the Exporter; number counts them.
	own    bool
	number uint64
}

// optionsStore keeps the last options record of each Options Template and
// scope: every new session begins with them.
type optionsStore struct {
	index map[string]int
	list  []optionsRecord
	own   uint64 // number of the last record of the Exporter's own
}

func newOptionsStore() optionsStore { return optionsStore{index: make(map[string]int)} }

// keep remembers a record; when the store is full only scopes it knows are
// brought up to date.
func (s *optionsStore) keep(r optionsRecord) {
	t, rec := r.t, r.data
	key := scopeKey(t, rec)
	i, ok := s.index[key]
	if !ok {
		if len(s.list) == maxOptions {
			return
		}
		i = len(s.list)
		s.index[key] = i
		s.list = append(s.list, optionsRecord{})
	}
	r.data = append([]byte(nil), rec...) // readers may hold the old one
	if r.own {
		s.own++
		r.number = s.own
	}
	s.list[i] = r
}

// all returns what has left the queue when released messages have.
func (s *optionsStore) all(released uint64) []optionsRecord {
	var out []optionsRecord
	for _, r := range s.list {
		if released >= r.after {
			out = append(out, r)
		}
	}
	return out
}

// between returns the records of others that left the queue with the messages
// after one number and up to another.
func (s *optionsStore) between(from, to uint64) []optionsRecord {
	if from == to {
		return nil
	}
	var out []optionsRecord
	for _, r := range s.list {
		if !r.own && r.after > from && r.after <= to {
			out = append(out, r)
		}
	}
	return out
}

// ownSince returns the Exporter's own records after that number.
func (s *optionsStore) ownSince(number uint64) []optionsRecord {
	if s.own == number {
		return nil
	}
	var out []optionsRecord
	for _, r := range s.list {
		if r.own && r.number > number {
			out = append(out, r)
		}
	}
	return out
}

// forget drops the records of a Template that was withdrawn.
func (s *optionsStore) forget(t *Template) {
	list := s.list
	s.list = nil
	clear(s.index)
	for _, r := range list {
		if r.t != t {
			s.index[scopeKey(r.t, r.data)] = len(s.list)
			s.list = append(s.list, r)
		}
	}
}

// scopeKey tells apart what records are about.
func scopeKey(t *Template, rec []byte) string {
	key := binary.BigEndian.AppendUint16(nil, t.ID)
	var r ipfix.Records
	r.Reset(t.Template, rec)
	if r.Next() {
		for i := range t.Scope {
			key = append(key, r.View(i)...)
			key = append(key, 0xff)
		}
	}
	return string(key)
}

// options holds the Options Templates of RFC 7011, Section 4.
type options struct {
	off                        bool
	metering, ignored, notSent *Template
}

// Elements of the statistics, all of IANA's registry.
const (
	exportedOctetTotalCount      = 40
	exportedMessageTotalCount    = 41
	exportedFlowRecordTotalCount = 42
	meteringProcessID            = 143
	exportingProcessID           = 144
	templateID                   = 145
	observationDomainID          = 149
	ignoredPacketTotalCount      = 164
	ignoredOctetTotalCount       = 165
	notSentFlowTotalCount        = 166
	notSentPacketTotalCount      = 167
	notSentOctetTotalCount       = 168
	flowKeyIndicator             = 173
	observationTimeMilliseconds  = 323
)

func specs(list ...ipfix.FieldSpec) []ipfix.FieldSpec { return list }

func field(num, length uint16) ipfix.FieldSpec {
	return ipfix.FieldSpec{ID: ie.ID{Num: num}, Length: length}
}

// defineOptions defines the Options Templates of RFC 7011, Section 4. The
// scopes always name the domain, so that they hold where it is 0, and the
// process (Sections 4.1 and 4.2).
func (e *Exporter) defineOptions() error {
	o := &e.stats
	if o.off = e.cfg.StatsInterval < 0; o.off {
		return nil
	}
	times := specs(field(observationTimeMilliseconds, 8), field(observationTimeMilliseconds, 8))
	for _, d := range []struct {
		to    **Template
		scope int
		specs []ipfix.FieldSpec
	}{
		{&o.metering, 2, specs(field(observationDomainID, 4), field(meteringProcessID, 4),
			field(exportedMessageTotalCount, 8), field(exportedFlowRecordTotalCount, 8), field(exportedOctetTotalCount, 8))},
		{&o.notSent, 1, append(specs(field(exportingProcessID, 4),
			field(notSentFlowTotalCount, 8), field(notSentPacketTotalCount, 8), field(notSentOctetTotalCount, 8)), times...)},
	} {
		t, err := e.Define(d.scope, d.specs)
		if err != nil {
			return fmt.Errorf("statistics: %w", err)
		}
		*d.to = t
	}
	return nil
}

// ReportMetering makes f's report part of the statistics (RFC 7011, Section
// 4.2). f is called from the Exporter's own goroutine.
func (e *Exporter) ReportMetering(f func() MeteringReport) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stats.off {
		return nil
	}
	t, err := e.define(e.cfg.Domain, 2, specs(field(observationDomainID, 4), field(meteringProcessID, 4),
		field(ignoredPacketTotalCount, 8), field(ignoredOctetTotalCount, 8),
		field(observationTimeMilliseconds, 8), field(observationTimeMilliseconds, 8)))
	if err != nil {
		return err
	}
	e.stats.ignored, e.metering = t, f
	return nil
}

// FlowKeys exports which fields of a Template are its Flow Keys: bit i of
// keys stands for field i (RFC 7011, Section 4.4).
func (e *Exporter) FlowKeys(t *Template, keys uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stats.off {
		return nil
	}
	k, err := e.define(t.dom.id, 1, specs(field(templateID, 2), field(flowKeyIndicator, 8)))
	if err != nil {
		return err
	}
	rec, err := k.AppendRecord(nil, []ipfix.Value{{Num: uint64(t.ID)}, {Num: keys}})
	if err != nil {
		return err
	}
	t.dom.options.keep(optionsRecord{t: k, data: rec, own: true})
	return nil
}

// exportStats makes the session be told the statistics of Section 4 as they
// are now.
func (e *Exporter) exportStats(s *session) error {
	o := &e.stats
	if o.off {
		return nil
	}
	e.mu.Lock()
	n := e.n
	report := e.metering
	ignored := o.ignored
	keys := o.notSent.dom.options.ownSince(0)
	e.mu.Unlock()
	id, dom := uint64(e.cfg.ProcessID), uint64(e.cfg.Domain)
	list := keys
	var err error
	add := func(t *Template, nums ...uint64) {
		vals := make([]ipfix.Value, len(nums))
		for i, v := range nums {
			vals[i].Num = v
		}
		rec, aerr := t.AppendRecord(nil, vals)
		if aerr != nil {
			err = fmt.Errorf("statistics: %w", aerr)
			return
		}
		list = append(list, optionsRecord{t: t, data: rec, own: true})
	}
	add(o.metering, dom, id, n.messages, n.flows, n.octets)
	add(o.notSent, id, n.droppedFlows, n.droppedPackets, n.droppedOctets, millis(n.firstDrop), millis(n.lastDrop))
	if report != nil {
		r := report()
		add(ignored, dom, id, r.IgnoredPackets, r.IgnoredOctets, millis(r.First), millis(r.Last))
	}
	if err != nil {
		return err
	}
	d := o.metering.dom
	e.announce(s, d, false)
	s.jobs = append(s.jobs, job{d: d, records: list})
	return nil
}

func millis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}
