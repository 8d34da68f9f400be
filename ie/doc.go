// Package ie is the IPFIX information model: Information Elements, their
// abstract data types, semantics, units and ranges (RFC 7012), the reverse
// elements of biflows (RFC 5103), types learnt from type records (RFC 5610)
// and the unsigned256 type of RFC 9740.
//
// IANA's registry is embedded as iana.csv; enterprise elements come from CSV
// files of the same columns with a pen column in front. An element that
// nobody described is named pen<PEN>.id<number>, so that a name exists, both
// ways, for whatever stands in a template.
//
// The package is pure: it opens nothing, starts nothing and knows no time.
// It leaves out the descriptions of the registry and the code points of
// identifiers (protocol names, flag names).
package ie
