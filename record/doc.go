// Package record is the JSON text of a Data Record, both ways: one object a
// line, metadata first, then the fields by the names of their Information
// Elements with the text values of RFC 7373.
//
//	{"@exporter":"r1.example","@session":7,"@domain":1,"@template":256,
//	 "@exportTime":"2026-09-21T14:13:20","sourceIPv4Address":"192.0.2.1",
//	 "octetDeltaCount":1500,"flowStartMilliseconds":"2026-09-21T14:13:19.250"}
//
// Values, by abstract data type:
//
//	unsigned, signed      numbers, all 64 bits of them
//	float32, float64      numbers; "NaN", "+inf", "-inf"
//	boolean               true, false; "0x03" where it is neither (RFC 7011, 6.1.5)
//	string                made valid: what is not UTF-8 becomes U+FFFD; the zeros
//	                      that fill up a string of fixed length are left out
//	octetArray            "0x" and two digits an octet
//	macAddress            "00:00:5e:00:53:01"
//	ipv4Address, ipv6Address  dotted quad; RFC 5952
//	dateTimeSeconds and finer  UTC, with 0, 3, 6 or 9 digits of the second
//	                      and no zone letter (RFC 7373, 4.8); the bare number
//	                      where the year has more than four digits
//	unsigned256           "0x" and hexadecimal digits without leading zeros: the
//	                      type holds bit maps (RFC 9740), and no reader of JSON
//	                      has such numbers
//
// RFC 7373 gives the lists of RFC 6313 no text. Here they are objects; @semantic
// is the name in IANA's registry, or a number:
//
//	basicList             {"@semantic":"allOf","sourceTransportPort":[80,443]}
//	subTemplateList       {"@semantic":"ordered","@template":257,"@records":[{…},{…}]}
//	subTemplateMultiList  {"@semantic":"allOf","@parts":[{"@template":257,"@records":[…]},…]}
//
// A list that cannot be read, has an unknown template or lies deeper than
// MaxDepth is {…,"@data":"0x…"}. An element that stands in the template more
// than once is an array, where it stood first. An element nobody knows is
// "pen<PEN>.id<number>":"0x…". A value whose octets do not fit the type is
// "0x…" too; one of a number without octets is null. Fields of length 0 say
// nothing and are left out, which also bounds the text that an octet can
// become. Records of an Options Template have "@scope", the number of their
// scope fields, after "@template".
//
// An Encoder or Parser belongs to one goroutine at a time.
package record
