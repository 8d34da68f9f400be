// Package netflow reads NetFlow version 9 (RFC 3954) and version 5 datagrams
// and gives their records as IPFIX data sets: templates compiled by package
// ipfix, records that its plans decode. What reads IPFIX then reads NetFlow,
// files and sinks included.
//
//	 0                   1                   2                   3
//	+-------------------------------+-------------------------------+
//	|          Version (9)          |   Records, templates included |
//	+-------------------------------+-------------------------------+
//	|            milliseconds since the exporter's boot             |
//	+---------------------------------------------------------------+
//	|                     Export Time (seconds)                     |
//	+---------------------------------------------------------------+
//	|                  Sequence Number (of packets)                 |
//	+---------------------------------------------------------------+
//	|                           Source ID                           |
//	+-------------------------------+-------------------------------+
//	| FlowSet ID: 0, 1, template id |    Length, with these four    |
//	+-------------------------------+-------------------------------+
//
// What becomes what:
//   - Field types below 32768 are the elements of the same number in IANA's
//     registry. Vendor types from 32768 on use up the bit that says
//     "enterprise" in IPFIX: from 57472 on they are ntop's (PEN 35632, the
//     number less 57472), the others Cisco's (PEN 9, the number less 32768),
//     as those vendors number them in their own IPFIX.
//   - Scopes of Options Templates (RFC 3954, Section 6.1): System is
//     exportingProcessId, Interface ingressInterface, Line Card lineCardId,
//     Cache meteringProcessId, Template templateId; any other number is an
//     element's.
//   - Times counted from the boot (FIRST_SWITCHED, LAST_SWITCHED) stay, and
//     each such record gets flowStartMilliseconds and flowEndMilliseconds
//     appended, as absolute as the header allows: in version 9 its clock has
//     whole seconds.
//   - Fields of length 0 hold nothing and are left out.
//   - Version 5 has one template, made here: V5TemplateID.
//
// A Session is the state of one exporter: templates, bounded in number, and
// data that came before its template, bounded in octets. It is pure: no
// sockets, no clock; templates do not age. It leaves out sequence numbers'
// accounting and other versions.
package netflow

import (
	"encoding/binary"

	"ipfixsuite/ie"
)

const (
	headerLenV9 = 20
	headerLenV5 = 24
	recordLenV5 = 48
	flowSetLen  = 4

	templateSet        = 0
	optionsTemplateSet = 1
	minDataSet         = 256
)

const (
	ciscoPEN = 9
	ntopPEN  = 35632

	firstVendor = 0x8000
	firstNtop   = 57472
)

// Version is 9 or 5 if b begins like a datagram of that version, else 0.
func Version(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch v := binary.BigEndian.Uint16(b); v {
	case 5, 9:
		return int(v)
	}
	return 0
}

// Plausible tells whether b is a NetFlow datagram as far as lengths show, for
// those who have to guess by its octets.
func Plausible(b []byte) bool {
	switch Version(b) {
	case 5:
		if len(b) < headerLenV5+recordLenV5 {
			return false
		}
		return int(binary.BigEndian.Uint16(b[2:]))*recordLenV5+headerLenV5 == len(b)
	case 9:
		if len(b) < headerLenV9+flowSetLen {
			return false
		}
		for b = b[headerLenV9:]; len(b) >= flowSetLen; {
			id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
			if n < flowSetLen || n > len(b) || id > optionsTemplateSet && id < minDataSet {
				return false
			}
			b = b[n:]
		}
		return len(b) == 0
	}
	return false
}

// element is the Information Element for a field type of version 9.
func element(num uint16) ie.ID {
	switch {
	case num < firstVendor:
		return ie.ID{Num: num}
	case num >= firstNtop:
		return ie.ID{PEN: ntopPEN, Num: num - firstNtop}
	}
	return ie.ID{PEN: ciscoPEN, Num: num - firstVendor}
}

// scopes are the elements for the scope types of RFC 3954, Section 6.1.
var scopes = [...]uint16{1: 144, 2: 10, 3: 141, 4: 143, 5: 145}

func scope(num uint16) ie.ID {
	if 0 < num && int(num) < len(scopes) {
		return ie.ID{Num: scopes[num]}
	}
	return element(num)
}

// LengthV5 is the length of the version 5 datagram that b starts with, 0 if
// there is none or not all of it.
func LengthV5(b []byte) int {
	if Version(b) != 5 || len(b) < headerLenV5 {
		return 0
	}
	n := headerLenV5 + int(binary.BigEndian.Uint16(b[2:]))*recordLenV5
	if n > len(b) {
		return 0
	}
	return n
}
