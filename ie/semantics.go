package ie

import (
	"fmt"
	"strings"
)

// Semantics is what a value means to those who add or compare it (RFC 7012,
// Section 3.2; RFC 6313 adds list, RFC 8038 the two of SNMP), with its number
// in the IANA registry (RFC 5610).
type Semantics uint8

// The semantics by number.
const (
	Default Semantics = iota
	Quantity
	TotalCounter
	DeltaCounter
	Identifier
	Flags
	List
	SNMPCounter
	SNMPGauge
)

var semanticsNames = []string{
	"default", "quantity", "totalCounter", "deltaCounter", "identifier",
	"flags", "list", "snmpCounter", "snmpGauge",
}

// Valid says whether s stands in the registry.
func (s Semantics) Valid() bool { return int(s) < len(semanticsNames) }

// String is the registry's name.
func (s Semantics) String() string {
	if !s.Valid() {
		return fmt.Sprintf("semantics(%d)", uint8(s))
	}
	return semanticsNames[s]
}

// ParseSemantics finds semantics by name, whatever the case; nothing is
// Default.
func ParseSemantics(s string) (Semantics, error) {
	if s == "" {
		return Default, nil
	}
	for i, n := range semanticsNames {
		if strings.EqualFold(n, s) {
			return Semantics(i), nil
		}
	}
	return 0, fmt.Errorf("unknown semantics %q%s", clip(s), didYouMean(s, semanticsNames))
}

// Allows says whether values of type t can have these semantics (RFC 5610,
// Section 3.10).
func (s Semantics) Allows(t DataType) bool {
	if !s.Valid() || !t.Valid() {
		return false
	}
	switch {
	case s == Default:
		return true
	case s == List:
		return t.Structured()
	case t.Unsigned():
		return true
	case t.Signed():
		return s != Flags
	case t.Float():
		return s != Identifier && s != Flags
	}
	return false
}

// units are the names of the IANA registry "IPFIX Information Element Units"
// by number (RFC 5610); none is the empty string here.
var units = []string{
	"", "bits", "octets", "packets", "flows", "seconds", "milliseconds",
	"microseconds", "nanoseconds", "4-octet words", "messages", "hops",
	"entries", "frames", "ports", "inferred",
}

// UnitsName is the name of a number of the units registry, "" for none and
// for numbers this program does not know.
func UnitsName(n uint16) string {
	if int(n) >= len(units) {
		return ""
	}
	return units[n]
}

// UnitsNumber is the number of a name in the units registry.
func UnitsNumber(name string) (uint16, bool) {
	if strings.EqualFold(name, "none") {
		return 0, true
	}
	for i, n := range units {
		if strings.EqualFold(n, name) {
			return uint16(i), true
		}
	}
	return 0, false
}
