// Package kernel is the stack of sctp:// and dtls+sctp://: the one-to-one
// sockets of Linux (RFC 6458, Section 4) as associations of transport/sctp.
//
// github.com/ishidawataru/sctp makes the sockets and encodes addresses, of
// which an end may have several. From there on the descriptor is ours:
// non-blocking and known to the runtime's poller, so that deadlines and
// cancellation work, messages end where MSG_EOR says, notifications are told
// from data, and neither receiving nor sending allocates.
//
// Linux tells by name which messages it gave up before it had sent them, and
// only the number of those that it gave up after that. Where as many had been
// sent whose lifetime was over, these are they; else it cannot be known which
// they were, and they count as arrived.
// An ABORT without a cause looks like silence.
//
// Deliberately left out: one-to-many sockets, peeling off, dynamic addresses.
// Where the kernel has no SCTP, or is not Linux, Dial and Listen fail with an
// *UnsupportedError.
//
// The package starts no goroutines.
package kernel

// UnsupportedError says that the kernel has no SCTP.
type UnsupportedError struct {
	Err error // what the system said
}

func (e *UnsupportedError) Error() string {
	return "this kernel has no SCTP (" + e.Err.Error() + "); sctp+udp:// and dtls+sctp+udp:// need none of it"
}

// Hint tells how to put it right.
func (e *UnsupportedError) Hint() string {
	return "use the scheme with +udp at both ends, or load the kernel's module: modprobe sctp"
}

func (e *UnsupportedError) Unwrap() error { return e.Err }
