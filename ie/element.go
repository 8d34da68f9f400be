package ie

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxNumber is the largest number of an element: 15 bits on the wire, the
// 16th says that an enterprise number follows (RFC 7011, Section 3.2).
const MaxNumber = 0x7FFF

// Element is one Information Element. Elements that came out of a Registry
// are shared and must not be changed.
type Element struct {
	ID
	Name      string
	Type      DataType
	Semantics Semantics
	Units     string // "" is none
	Min, Max  uint64 // inclusive range of values; 0, 0 is no range but the type's
	Status    string // current or deprecated; "" where nobody said
	Group     string // IANA's group; "" for others
}

// Reverse says whether the element counts the way back of a biflow
// (RFC 5103, Section 6.1).
func (e *Element) Reverse() bool { return e != nil && e.PEN == ReversePEN }

// same compares what a type record can say.
func (e *Element) same(o *Element) bool {
	return e.ID == o.ID && e.Name == o.Name && e.Type == o.Type && e.Semantics == o.Semantics &&
		e.Units == o.Units && e.Min == o.Min && e.Max == o.Max
}

// UnknownName names an element that no registry knows: pen<PEN>.id<number>.
func UnknownName(id ID) string {
	return string(AppendUnknownName(nil, id))
}

// AppendUnknownName appends UnknownName(id).
func AppendUnknownName(dst []byte, id ID) []byte {
	dst = append(dst, "pen"...)
	dst = strconv.AppendUint(dst, uint64(id.PEN), 10)
	dst = append(dst, ".id"...)
	return strconv.AppendUint(dst, uint64(id.Num), 10)
}

// ParseUnknownName reads what UnknownName writes, and nothing else: no signs,
// no leading zeros, so that an id has one name.
func ParseUnknownName(s string) (ID, bool) {
	rest, ok := strings.CutPrefix(s, "pen")
	if !ok {
		return ID{}, false
	}
	pen, num, ok := strings.Cut(rest, ".id")
	if !ok {
		return ID{}, false
	}
	p, err := canonicalUint(pen, 32)
	if err != nil {
		return ID{}, false
	}
	n, err := canonicalUint(num, 15)
	if err != nil {
		return ID{}, false
	}
	return ID{PEN: uint32(p), Num: uint16(n)}, true
}

func canonicalUint(s string, bits int) (uint64, error) {
	if len(s) > 1 && s[0] == '0' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, bits)
}

// reversePrefix begins the names of reverse elements (RFC 5103, Section 6.1).
const reversePrefix = "reverse"

// ReverseName is the name of the counterpart of the element called name:
// octetDeltaCount becomes reverseOctetDeltaCount.
func ReverseName(name string) string {
	if name == "" {
		return reversePrefix
	}
	return reversePrefix + strings.ToUpper(name[:1]) + name[1:]
}

// Reversible says whether an element of IANA's has a meaning for one
// direction of a biflow. RFC 5103, Section 6.1, names those that have not and
// asks that later additions of the same kind be treated the same way.
func (e *Element) Reversible() bool {
	if e == nil || e.PEN != 0 {
		return false
	}
	switch e.Group {
	case "config", "processCounter", "padding":
		return false
	}
	switch {
	case e.Num == 137, e.Num == 145, e.Num == 148, e.Num == 149, e.Num == 239:
		// commonPropertiesId, templateId, flowId, observationDomainId,
		// biflowDirection.
		return false
	case e.Num >= 258 && e.Num <= 275 && e.Num != 266:
		// What a file says of itself (RFC 5655, Section 8) belongs to IPFIX.
		return false
	case e.Num == 266, e.Num == 303, e.Num >= 339 && e.Num <= 346:
		// opaqueOctets, informationElementId and the type records of RFC 5610.
		return false
	}
	return true
}

// reverse makes the counterpart of e (RFC 5103, Section 6.1).
func (e *Element) reverse() *Element {
	r := *e
	r.PEN = ReversePEN
	r.Name = ReverseName(e.Name)
	return &r
}

// clip shortens what the other side wrote, for an error of one line.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// didYouMean is ", did you mean X?" if one of the names is near to s.
func didYouMean(s string, names []string) string {
	if n := nearest(s, names); n != "" {
		return fmt.Sprintf(", did you mean %s?", n)
	}
	return ""
}
