// Package templates is the life of Templates and Options Templates (RFC 7011,
// Section 8) on both ends of a Transport Session.
//
// The Exporting Process keeps an [Active] for each Observation Domain: which
// Templates there are, under which ids, and when they are to be sent again.
//
// The Collecting Process keeps a [Store] for each Transport Session: what the
// exporter has defined in each Observation Domain, and the data sets that came
// before their Template. All that a peer can make a Store remember is bounded,
// for the session by [StoreConfig] and for all sessions by a [Budget] they
// share.
//
// Everything here is driven by its caller: no goroutines, no clocks, no
// sockets. Only a Budget may be used by several goroutines at a time.
//
// Left out: the buffer that puts template changes in the order of their Export
// Times before they are applied, which RFC 7011, Section 8.2, leaves to the
// Collecting Process: stale definitions are recognised instead.
package templates
