// Package collect is the Collecting Process (RFC 7011, Sections 8 and 9): it
// takes the IPFIX Messages of any number of Transport Sessions, decodes what
// can be decoded, and hands the records to sinks.
//
//	transport -> Receiver -> sets -> templates.Store
//	                |          \-> record.Batch -> every Sink
//	                \-> sequence (lost, late, duplicate)
//
// A [Collector] is a transport.Handler. It decodes in the goroutine that reads
// the socket: no queue stands between a datagram and the sinks' buffers. One
// bad set costs that set and no other; every octet that does not become a
// record is counted, with the place and the reason.
//
// Sessions are grouped by the exporter's identity; several sessions of one
// exporter at a time are normal. Everything a peer can make the Collector
// remember is bounded, for its session and in all.
//
// Options data that describes the export itself ([Control]) is interpreted, and
// shown only to sinks that ask for it; other options data are records like
// others.
//
// Two goroutines belong to a Collector and end in Close: one flushes the sinks
// and answers barriers, one looks after time and reports changes of the loss
// account. A Collector that is [Config].Offline has none.
//
// Left out: reordering of template changes by Export Time before they are
// applied (RFC 7011, Section 8.2, MAY); the end of sessions, which is their
// transport's matter, and with it the end of exporters whose messages are always malformed
// (Section 9.1, SHOULD): on a datagram transport a stranger could have them cut
// off.
package collect
