package collect

import (
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// Control says which part of the export itself an Options Template describes.
type Control uint8

// The kinds of RFC 7011, Section 4, of RFC 5610 and RFC 6526.
const (
	NoControl            Control = iota // flow records, or options data about something else
	MeteringStatistics                  // RFC 7011, Section 4.1
	MeteringReliability                 // what the Metering Process left out, Section 4.2
	ExportingReliability                // what the Exporting Process dropped, Section 4.3
	FlowKeys                            // which fields of a Template are Flow Keys, Section 4.4
	RecordsReliability                  // how reliably a Template's records are sent, RFC 6526
	ElementTypes                        // what an element is called and means, RFC 5610
)

// The elements these are known by.
const (
	exportedOctetTotalCount      = 40
	exportedMessageTotalCount    = 41
	exportedFlowRecordTotalCount = 42
	exporterIPv4Address          = 130
	exporterIPv6Address          = 131
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
	dataRecordsReliability       = 276
)

// ControlOf recognises the Options Templates of RFC 7011, Section 4, and of
// RFC 5610 and RFC 6526 by their elements; further elements do no harm.
func ControlOf(t *ipfix.Template) Control {
	if !t.Options() {
		return NoControl
	}
	var scope, option control
	for i := range t.Fields {
		if f := &t.Fields[i]; f.PEN != 0 {
			continue
		} else if i < t.Scope {
			scope.note(f.Num)
		} else {
			option.note(f.Num)
		}
	}
	switch {
	case option.notSent && scope.exporting:
		return ExportingReliability
	case option.ignored && scope.metering:
		return MeteringReliability
	case option.exported && scope.metering:
		return MeteringStatistics
	case option.keys && scope.template:
		return FlowKeys
	case option.reliable && scope.template:
		return RecordsReliability
	case option.typed && scope.element:
		var ids [16]ie.ID
		list := ids[:0]
		for i := range t.Fields {
			list = append(list, t.Fields[i].ID)
		}
		if ie.DescribesElements(t.Scope, list) {
			return ElementTypes
		}
	}
	return NoControl
}

// control is what a Control is recognised by.
type control struct {
	notSent, ignored, exported, keys, typed, reliable bool
	exporting, metering, template, element            bool
}

func (c *control) note(num uint16) {
	switch num {
	case notSentFlowTotalCount, notSentPacketTotalCount, notSentOctetTotalCount:
		c.notSent = true
	case ignoredPacketTotalCount, ignoredOctetTotalCount:
		c.ignored = true
	case exportedOctetTotalCount, exportedMessageTotalCount, exportedFlowRecordTotalCount:
		c.exported = true
	case flowKeyIndicator:
		c.keys = true
	case dataRecordsReliability:
		c.reliable = true
	case 339: // informationElementDataType
		c.typed = true
	case exporterIPv4Address, exporterIPv6Address, exportingProcessID:
		c.exporting = true
	case observationDomainID, meteringProcessID:
		c.metering = true
	case templateID:
		c.template = true
	case 303: // informationElementId
		c.element = true
	}
}
