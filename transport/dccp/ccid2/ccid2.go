// Package ccid2 is TCP-like congestion control for DCCP (RFC 4341): both
// halves, behind the interfaces of package ccid.
//
// The HC-Sender keeps a window of packets. What arrived and what was lost it
// reads from Ack Vectors; it halves its window once for each window of data
// with a loss or a mark, opens it as TCP does, times out as TCP does (RFC 6298,
// without the floor of a second, which guards retransmissions that DCCP does
// not make), and keeps to the window that was really used (RFC 2861). It
// steers how often the peer acknowledges by the Ack Ratio feature. The
// HC-Receiver acknowledges every Ack Ratio packets, at once when something is
// missing or marked, and after 200 ms at the latest.
//
// Left out: ECN nonces, which RFC 8311 has taken back; pacing within a window
// and undoing a reduction when a packet that was deemed lost arrives after
// all, both of which are optional (Section 5; RFC 4340, Section 11.4.1).
//
// The halves are pure and not safe for concurrent use; nothing allocates in
// the steady state.
package ccid2

import (
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

const (
	// numDupAck packets sent later have to arrive before a packet is deemed
	// lost and not late (RFC 4341, Section 5).
	numDupAck = 3
	// minThreshold is the least slow start threshold (RFC 4341, Section 5).
	minThreshold = 2
	// maxWindow bounds the congestion window, and with it the history of sent
	// packets: 8192 packets of 1200 octets fill 780 Mbit/s at 100 ms.
	maxWindow = 1 << 13
	// maxHistory bounds the packets remembered: a window, what was sent since
	// its first packet without data, and what timed out.
	maxHistory = 1 << 15
	// defaultRTT is assumed while nothing was measured (RFC 4340, Section 3.4).
	defaultRTT = 200 * time.Millisecond
	// delayedAck is the longest that an acknowledgement may wait for company
	// (RFC 4340, Section 11.3).
	delayedAck = 200 * time.Millisecond
)

// New describes CCID 2 to a connection.
func New() ccid.CCID {
	return ccid.CCID{
		ID:          ccid.TCPLike,
		NewSender:   func(s ccid.Setup) ccid.Sender { return NewSender(s) },
		NewReceiver: func(s ccid.Setup) ccid.Receiver { return NewReceiver(s) },
		// Without Ack Vectors CCID 2 is blind: the sender insists on them
		// (RFC 4341, Section 4, MUST).
		Needs: []ccid.Need{{Feature: wire.FeatSendAckVector, Remote: true, Values: []byte{1}, Mandatory: true}},
	}
}

// initialWindow is the window of a new connection, in packets (RFC 3390; RFC
// 4341, Section 5): what stays within 4380 octets, but 2 to 4 packets.
func initialWindow(mps int) int {
	switch {
	case mps <= 1095:
		return 4
	case mps <= 2190:
		return 3
	}
	return 2
}
