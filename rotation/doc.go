// Package rotation decides when and how the Transport Session of an Exporting
// Process is replaced by the next one: make before break, the second option
// of draft-mentz-ipfix-dtls-recommendations-00, Section 3.2, for whatever
// transport there is.
//
// A session is built (dialled, with all handshakes) beside the one that
// carries the data, primed (told every active Template, Options Template and
// the Data Records of these), proved alive, and only then takes over; the old
// one drains and is closed:
//
//	          +--------- fails, or takes too long ---------+
//	          |            |          |                    v
//	empty -> building -> priming -> proving -> active -> draining -> closing -> empty
//	                                              |                    ^
//	                                              +------- lost -------+
//
// There are two such places, so there are never more than two sessions; a
// session counts until its closing is over. What happens in one place leaves
// the other untouched: a candidate that fails costs the active session
// nothing, and is tried again after a backoff.
//
// A Machine is pure: it owns no session, no goroutine and no clock. It knows
// nothing of Templates and asks its owner to build, prime, prove, drain and
// close what it names by an ID. Choice picks one of several collectors.
package rotation
