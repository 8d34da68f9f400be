// Package fanout stands between sources and several exporters, one for each
// collector. It is to a source what one export.Exporter is.
//
//	All    each collector gets every record
//	Hash   each record goes to one of them, by its flow; options records,
//	       which describe flows, to every one
//
// Nobody waits for a collector that is dead or much slower than the others:
// what its queue (or its spool) cannot hold is dropped and counted for it
// alone, in mode Hash handed to the flow's next collector instead. A source
// that can wait is slowed down by collectors that keep up with the fastest
// more or less, see Config; one that cannot wait (Offer) never is.
//
// Hash is rendezvous hashing over the flow's addresses, ports and protocol,
// the same for both directions of a conversation: adding or removing a
// collector moves no flow between the others (RFC 7011 leaves the choice to
// the exporter). Where a Template has no addresses its Flow Keys decide, and
// without these the whole record.
//
// Collectors may come and go (Change). One that comes takes over Templates and
// options records from another before any data; one that goes sends what it
// has (All), or leaves what it has not delivered to the others (Hash).
//
// Template ids are the same at all collectors, since records may name them
// (RFC 6313): the exporters must be configured alike and be defined on only
// through the Fanout.
package fanout
