// Package ccid3 is TCP-friendly rate control for DCCP: RFC 4342 on the
// mechanism of RFC 5348 (TFRC), both halves, behind the interfaces of package
// ccid.
//
//	HC-Sender                                   HC-Receiver
//	 data, CCVal: a clock of quarter RTTs  ──▶   loss events: losses within one RTT are one
//	 rate = TCP's throughput for this      ◀──   once per RTT, at once on a new event: elapsed
//	 loss event rate and RTT, at most            time, receive rate, the last nine loss
//	 twice what arrives; packets paced           intervals, and the loss event rate if agreed
//
// The sender computes the loss event rate from the Loss Intervals; a peer that
// reports only the rate itself, as Linux does, is taken at its word. Included
// beyond the musts: the reduction of oscillations by the square root of the RTT
// (RFC 5348, Section 4.5), credits for a round trip's unused sending times
// (Section 4.6), a feedback timer at the receiver as a backup of the window
// counter (RFC 4342, Section 10.3), and the return of a packet that had begun a
// loss event (RFC 5348, Section 5.1).
//
// On paths whose round trip is shorter than what the system's timers can wait
// for (a millisecond, with Go) the rate stays below what is allowed: a burst
// has at most one round trip's worth of packets (RFC 5348, Section 8.3). There a
// rate says little of what a receiver has to bear that stands still for a while,
// so that what is under way is bounded, too. CCID 2, which needs no timers, is the
// better choice within a host or a rack.
//
// Left out: history discounting (RFC 5348, Section 5.5), which is optional, and
// ECN nonces, which RFC 8311 has taken back: the nonce echo is sent as 0 and
// not looked at.
//
// The halves are pure and not safe for concurrent use; nothing allocates in
// the steady state.
package ccid3

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

const (
	// numDupAck packets have to arrive behind a hole before it is a loss
	// (RFC 4342, Section 6.1).
	numDupAck = 3
	// numIntervals is how many loss intervals make the loss event rate (RFC
	// 5348, Section 5.4); with the current one, one more is reported.
	numIntervals = 8
	// maxBackoff is the longest time between two packets, t_mbi (RFC 5348,
	// Section 4.3).
	maxBackoff = 64 * time.Second
	// firstNoFeedback is the nofeedback timer before a round trip is known
	// (RFC 5348, Section 4.2).
	firstNoFeedback = 2 * time.Second
	// minNoFeedback is its least: on the shortest paths four round trips are
	// less than what a busy host may take to answer. Linux has the same.
	minNoFeedback = 100 * time.Millisecond
	// minFlight packets may be under way on the shortest path, too: what a
	// timer's grain takes at 10 Gbit/s.
	minFlight = 1024
	// defaultRTT is assumed while nothing was measured (RFC 4340, Section 3.4).
	defaultRTT = 200 * time.Millisecond
	// timerGrain is how exact a wake-up is expected to be, t_gran (RFC 5348,
	// Section 8.3).
	timerGrain = time.Millisecond
	// maxHistory bounds the packets whose sending times are remembered: a
	// round trip's worth. Feedback on older ones gives no RTT sample.
	maxHistory = 1 << 15
)

// New describes CCID 3 to a connection.
func New() ccid.CCID {
	return ccid.CCID{
		ID:          ccid.TFRC,
		NewSender:   func(s ccid.Setup) ccid.Sender { return NewSender(s) },
		NewReceiver: func(s ccid.Setup) ccid.Receiver { return NewReceiver(s) },
		Needs: []ccid.Need{
			// Linux resets connections that do not agree to this. Whoever does
			// not know it is fine: Loss Intervals say more.
			{Feature: wire.FeatSendLossEventRate, Remote: true, Values: []byte{1, 0}},
			// Tells lost data from lost acknowledgements (RFC 4342, Section 6.1).
			{Feature: wire.FeatSendNDPCount, Values: []byte{1, 0}},
			// Not needed for the rate, but the application learns what arrived.
			{Feature: wire.FeatSendAckVector, Remote: true, Values: []byte{1, 0}},
		},
	}
}
