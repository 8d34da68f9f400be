// Package export is the Exporting Process of RFC 7011: it takes encoded Data
// Records from sources, packs them into IPFIX Messages and carries them to a
// collector over a transport.Session.
//
// It implements of RFC 7011: the message header's Export Time and Sequence
// Number (3.1), the options records of Section 4, the sequencing of Template
// management (8.1, 8.2, 8.4), message sizes (10.3.3) and the accounting of
// what had to be dropped (10.4.1). Export Time is always the wall clock when
// a message leaves, also for records of an old capture: flow times stand in
// the records.
//
// The way of a record:
//
//	Write/Offer ── packs into the Domain's open message ──┐
//	                 full, or MaxDelay old: sealed        v
//	              queue of sealed messages (bounded by QueueBytes)
//	                                                      │ loop (Run)
//	  Templates it needs, header, sequence number ────────┤
//	                                                      v
//	                       session ── batches ── transport.Session.Send
//
// With a SpoolDir what the queue cannot hold goes to disk, and comes back
// through it when there is a session again; a message of the spool is marked
// there as delivered where others leave the confirmed window. See package
// spool.
//
// Write waits for room in the queue, Offer counts a drop instead; neither
// ever waits for a handshake. Headers are written when a message leaves, so
// a queued message can go to whatever session is there by then.
//
// What goes the same way on every session shares a lane: an Observation
// Domain, or a Template (Config.Streams; RFC 7011, Section 10.2.6, RFC 6526).
// A session maps lanes to its streams, each of which counts its own Sequence
// Numbers. Where streams fill one by one (transport.Laned), what waits for one
// that stands still is passed over in the queue. A message keeps the Templates
// it was packed with, so that it can be told them again on any session.
//
// What was sent stays in its session's confirmed window until an answered
// probe proves that the collector has it (where none can, for Retain). A
// session that dies leaves its window to the next one, in front of the queue.
// When that is, and which collector it goes to, is decided by package
// rotation; whether a collector lives by package heartbeat. The next session
// is primed and proven while the present one carries data, and takes over by
// one assignment.
//
// Run's goroutine owns the sessions. It starts one goroutine for each dial
// and one for each close, and one prober for each session; all have ended
// when Run returns. Source
// goroutines share with it only what Exporter.mu guards.
package export
