package ie

import "fmt"

// DataType is an abstract data type (RFC 7012, Section 3.1) with its number
// in the IANA registry "IPFIX Information Element Data Types" (RFC 5610).
type DataType uint8

// The data types by number.
const (
	OctetArray DataType = iota
	Unsigned8
	Unsigned16
	Unsigned32
	Unsigned64
	Signed8
	Signed16
	Signed32
	Signed64
	Float32
	Float64
	Boolean
	MACAddress
	String
	DateTimeSeconds
	DateTimeMilliseconds
	DateTimeMicroseconds
	DateTimeNanoseconds
	IPv4Address
	IPv6Address
	BasicList
	SubTemplateList
	SubTemplateMultiList
	Unsigned256 // RFC 9740
)

// ID names an Information Element: its number within an enterprise; PEN 0 is
// IANA's own registry.
type ID struct {
	PEN uint32
	Num uint16
}

// ReversePEN holds the elements that count the way back of a biflow
// (RFC 5103, Section 6.1).
const ReversePEN = 29305

// String is "8" for IANA's sourceIPv4Address, "32473/100" for an enterprise
// element.
func (id ID) String() string {
	if id.PEN == 0 {
		return fmt.Sprint(id.Num)
	}
	return fmt.Sprintf("%d/%d", id.PEN, id.Num)
}
