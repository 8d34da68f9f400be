package collect

import (
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// interpret reads options data that describes the export itself.
func (r *receiver) interpret(k Control, t *ipfix.Template, body []byte) {
	switch k {
	case ElementTypes, ExportingReliability, MeteringReliability, RecordsReliability:
	default:
		return
	}
	var rs ipfix.Records
	rs.Reset(t, body)
	for rs.Next() {
		r.values = rs.Values(r.values)
		switch k {
		case ElementTypes:
			r.learn(t)
		case RecordsReliability:
			r.reliability(t)
		default:
			r.report(k, t)
		}
	}
	// Views of the message stay no longer than it.
	clear(r.values)
}

// learn takes an Information Element type record (RFC 5610, Section 3.9).
func (r *receiver) learn(t *ipfix.Template) {
	var rec ie.TypeRecord
	for i := range t.Fields {
		rec.Set(t.Fields[i].ID, r.values[i].Num, r.values[i].View)
	}
	e, err := rec.Element()
	if err == nil {
		err = r.dom.store.Learn(e)
	}
	if err == nil {
		return
	}
	r.n.ControlIgnored++
	if n, ok := r.allow(); ok {
		r.log().Warn("element type ignored", "domain", r.meta.Domain, "error", err, "suppressed", n)
	}
}

// reliability takes a Data Records Reliability record (RFC 6526, Section 4.2).
func (r *receiver) reliability(t *ipfix.Template) {
	var id uint16
	lossy := false
	for i := range t.Fields {
		switch f := &t.Fields[i]; {
		case f.PEN != 0:
		case i < t.Scope && f.Num == templateID:
			id = uint16(r.values[i].Num)
		case i >= t.Scope && f.Num == dataRecordsReliability:
			lossy = string(r.values[i].View) == "\x02" // false (RFC 7011, Section 6.1.5)
		}
	}
	r.perStreamTold(id, lossy)
}

// report takes reliability statistics (RFC 7011, Sections 4.2 and 4.3).
func (r *receiver) report(k Control, t *ipfix.Template) {
	key := reportKey{domain: r.meta.Domain, kind: k}
	var counts [5]uint64
	var have uint8
	at := 0
	for i := range t.Fields {
		if i < t.Scope {
			at += copy(key.scope[at:], r.values[i].View)
			continue
		}
		f := &t.Fields[i]
		if f.PEN != 0 {
			continue
		}
		place := -1
		switch f.Num {
		case notSentFlowTotalCount:
			place = 0
		case notSentPacketTotalCount:
			place = 1
		case notSentOctetTotalCount:
			place = 2
		case ignoredPacketTotalCount:
			place = 3
		case ignoredOctetTotalCount:
			place = 4
		}
		if place >= 0 {
			counts[place], have = r.values[i].Num, have|1<<place
		}
	}
	r.exporter.report(key, r.meta.ExportTime, &counts, have)
}
