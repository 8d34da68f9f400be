// Package ipfix is the sink that writes IPFIX Files (RFC 5655): for each
// exporter, known by its identity, one series of files in a directory.
//
// Data sets are put into messages of their own, bodies copied as they came;
// no record is looked at. A message holds sets of one Observation Domain and
// one Export Time, which stays that of the exporter (RFC 5655, Section
// 7.3.1). Each file can be read alone: a template stands before the first data
// that needs it, Options Templates included, and sequence numbers start at 0.
//
// One file is one Transport Session, but several sessions of an exporter may
// go into it, before and after a rotation or at a time. So template ids are
// given anew: the exporter's own where it is free, the same for the same
// definition, another one where the sessions disagree. Where records speak of
// templates (subTemplateList, subTemplateMultiList, templateId), a copy is
// walked and the ids in it follow; that alone costs time per record.
//
// Left out: options data is not repeated in the next file, and how the data
// came here (RFC 5655, Section 8.1.3) stands only in the file's name.
//
// A Sink may be used by several goroutines. It has one of its own, which ends
// files that are old while nobody writes to them, until Close.
package ipfix
