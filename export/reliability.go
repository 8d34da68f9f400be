package export

import (
	"slices"

	"ipfixsuite/ipfix"
)

// dataRecordsReliability says whether the Data Records of a Template are sent
// reliably (RFC 6526, Section 4.1).
const dataRecordsReliability = 276

// The values of a boolean (RFC 7011, Section 6.1.5).
const (
	isTrue  = 1
	isFalse = 2
)

// reliabilityTemplate is the Data Records Reliability Options Template of a
// stream (RFC 6526, Section 4.2). It belongs to the session, as streams do:
// its id is of those that are reserved for sessions.
func (e *Exporter) reliabilityTemplate(sd *sessionDomain, stream uint16) (t *ipfix.Template, told bool) {
	if t = sd.reliability[stream]; t != nil {
		return t, true
	}
	t, err := ipfix.NewTemplate(^stream, 1, specs(field(templateID, 2), field(dataRecordsReliability, 1)), e.cfg.Registry)
	if err != nil {
		panic(err) // it is always the same
	}
	return t, false
}

// addReliability puts into the loop's message, behind Templates of one stream
// and before any data of theirs, how reliably that will be sent (RFC 6526,
// Section 4.2, MUST). So the first Data Record of each stream is one of these,
// by which a Collecting Process knows that the rules are kept (Section 4.5.2).
// It returns how many of the Templates there was room for.
func (e *Exporter) addReliability(s *session, d *domain, stream uint16, list []*ipfix.Template) (n int) {
	const record = 3 // octets
	b, size := &e.loop.builder, e.limit(s)
	sd := s.domain(d, &e.cfg)
	opt, told := e.reliabilityTemplate(sd, stream)
	if !told && !b.AddTemplate(opt) {
		return 0
	}
	for n < len(list) && b.Len()+ipfix.SetHeaderLen+list[n].TemplateLen()+ipfix.SetHeaderLen+(n+1)*record <= size && b.AddTemplate(list[n]) {
		n++
	}
	for _, t := range list[:n] {
		value := byte(isTrue)
		if s.props.Partial && t.Scope == 0 {
			value = isFalse
		}
		b.AddRecord(opt, []byte{byte(t.ID >> 8), byte(t.ID), value}) // room was made
	}
	return n
}

// toldReliability notes that a stream's message of addReliability was sent.
func (e *Exporter) toldReliability(sd *sessionDomain, stream uint16) {
	opt, told := e.reliabilityTemplate(sd, stream)
	if told {
		return
	}
	if sd.reliability == nil {
		sd.reliability = make(map[uint16]*ipfix.Template)
	}
	sd.reliability[stream] = opt
}

// arrange brings the Templates of each stream together; the order on it stays.
func (s *session) arrange(j *job) {
	if s.spread != StreamPerTemplate {
		return
	}
	for _, list := range [][]*ipfix.Template{j.ended, j.templates} {
		slices.SortStableFunc(list, func(a, b *ipfix.Template) int { return int(s.stream(j.d, a.ID)) - int(s.stream(j.d, b.ID)) })
	}
}

// used are the streams that carried Data Records of a domain.
func (s *session) used(d *domain, sd *sessionDomain) (list []uint16) {
	for i, seq := range sd.seqs {
		switch {
		case seq == 0:
		case s.spread == StreamPerTemplate:
			list = append(list, uint16(i))
		default:
			list = append(list, s.stream(d, ipfix.MinDataSetID))
		}
	}
	return list
}
