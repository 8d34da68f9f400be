package core

import "ipfixsuite/transport/dccp/ccid"

// Stats are a connection's counts since its beginning.
type Stats struct {
	PacketsSent, PacketsReceived uint64
	DataSent, DataReceived       uint64 // packets with a message
	BytesSent, BytesReceived     uint64 // octets of messages
	AcksSent                     uint64 // packets that only acknowledge
	Delivered, Lost, Unconfirmed uint64 // messages
	QueueDrops                   uint64 // messages that never were sent
	TooLarge                     uint64 // messages refused for their size
	Outgrown                     uint64 // of QueueDrops, for their size: the MPS had shrunk while they waited
	Queued                       int    // messages that wait now
	Retransmits                  uint64 // Requests, Closes and CloseReqs sent again
	SyncsSent, SyncsReceived     uint64
	ProbesSent                   uint64 // padded Syncs in search of a larger packet size
	SyncsLimited                 uint64 // not sent for the rate limit
	ResetsLimited                uint64
	FeaturesChanged              uint64

	// What came and was not taken.
	SequenceInvalid  uint64 // outside the windows (Step 6)
	SyncInvalid      uint64 // Sync or SyncAck outside (Step 5)
	ShortInvalid     uint64 // 24-bit numbers that were not agreed to
	Unexpected       uint64 // types that do not fit the state (Steps 4 and 7)
	Duplicates       uint64
	Stale            uint64 // too old to tell whether they are duplicates
	OptionErrors     uint64 // options ignored for their form
	VectorsInvalid   uint64 // Ack Vectors that speak of what was never sent
	AfterClose       uint64 // packets for a connection that has ended
	DataRefused      uint64 // messages not handed over: protocol constraints
	DataCorrupt      uint64 // messages whose Data Checksum does not match
	DataOverflow     uint64 // messages that the application said it had no room for
	SlowReceiverSeen uint64

	Sender   ccid.SenderStats
	Receiver ccid.ReceiverStats
}

// Stats returns a snapshot.
func (c *Conn) Stats() Stats {
	s := c.stats
	s.Queued = c.queue.n
	if c.sender != nil {
		s.Sender = c.sender.Stats()
	}
	if c.receiver != nil {
		s.Receiver = c.receiver.Stats()
	}
	return s
}
