package wire

// AckState is what an Ack Vector says of a packet (RFC 4340, Table 6).
type AckState uint8

// States of packets.
const (
	AckReceived AckState = 0
	AckECNMark  AckState = 1 // received with Congestion Experienced
	AckReserved AckState = 2
	AckMissing  AckState = 3 // not yet received
)

// MaxAckRun is how many packets one octet of an Ack Vector speaks of.
const MaxAckRun = 64

// AckRun is a run of packets in one state, [Last-Len+1, Last].
type AckRun struct {
	State AckState
	Last  Seq
	Len   int
}

// First is the oldest packet of the run.
func (r AckRun) First() Seq { return r.Last.Add(1 - int64(r.Len)) }

// AckRuns walks an Ack Vector backwards from the packet's acknowledgement
// number. Feed is called for each Ack Vector option of the packet in order,
// each going on where the one before left off:
//
//	runs := wire.NewAckRuns(p.Ack)
//	// for each Ack Vector option:
//	for runs.Feed(o.Data); runs.Next(); {
//		use(runs.Run)
//	}
type AckRuns struct {
	Run  AckRun // valid after Next returned true
	next Seq
	rest []byte
}

// NewAckRuns starts at the acknowledgement number.
func NewAckRuns(ack Seq) AckRuns { return AckRuns{next: ack} }

// Feed gives the data of the next Ack Vector option.
func (a *AckRuns) Feed(vector []byte) { a.rest = vector }

// Next moves to the next run of what was fed.
func (a *AckRuns) Next() bool {
	if len(a.rest) == 0 {
		return false
	}
	c := a.rest[0]
	a.rest = a.rest[1:]
	a.Run = AckRun{AckState(c >> 6), a.next, int(c&0x3f) + 1}
	a.next = a.next.Add(-int64(a.Run.Len))
	return true
}

// AckVectorLen is how many packets the vector speaks of.
func AckVectorLen(vector []byte) int {
	n := len(vector)
	for _, c := range vector {
		n += int(c & 0x3f)
	}
	return n
}

// AppendAckRun appends a run of n packets, in as many octets as it needs; an
// octet of the same state at the end of b[start:] is filled up first.
func AppendAckRun(b []byte, start int, s AckState, n int) []byte {
	if last := len(b) - 1; last >= start && b[last]>>6 == byte(s) {
		room := min(n, MaxAckRun-1-int(b[last]&0x3f))
		b[last] += byte(room)
		n -= room
	}
	for n > 0 {
		k := min(n, MaxAckRun)
		b = append(b, byte(s)<<6|byte(k-1))
		n -= k
	}
	return b
}

// AppendAckVector appends the vector as options, several when one does not
// hold it.
func AppendAckVector(b, vector []byte) []byte {
	for len(vector) > 0 {
		n := min(len(vector), MaxOptionData)
		b = AppendOption(b, OptAckVector0, vector[:n]...)
		vector = vector[n:]
	}
	return b
}

// DropCode is why a received packet's data did not reach the application
// (RFC 4340, Table 7).
type DropCode uint8

// Drop codes. NotDropped is ours: a Normal Block.
const (
	DropConstraints      DropCode = 0 // protocol constraints
	DropNotListening     DropCode = 1 // the application reads no more
	DropReceiveBuffer    DropCode = 2
	DropCorrupt          DropCode = 3
	DropDeliveredCorrupt DropCode = 7
	NotDropped           DropCode = 0xff
)

// Run lengths that one Block holds.
const (
	maxNormalRun = 128
	maxDropRun   = 16
)

// DropRun is a run of packets of one fate, [Last-Len+1, Last].
type DropRun struct {
	Code DropCode
	Last Seq
	Len  int
}

// First is the oldest packet of the run.
func (r DropRun) First() Seq { return r.Last.Add(1 - int64(r.Len)) }

// DropRuns walks Data Dropped options as AckRuns does Ack Vectors.
type DropRuns struct {
	Run  DropRun
	next Seq
	rest []byte
}

// NewDropRuns starts at the acknowledgement number.
func NewDropRuns(ack Seq) DropRuns { return DropRuns{next: ack} }

// Feed gives the data of the next Data Dropped option.
func (d *DropRuns) Feed(blocks []byte) { d.rest = blocks }

// Next moves to the next run of what was fed.
func (d *DropRuns) Next() bool {
	if len(d.rest) == 0 {
		return false
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	if c&0x80 == 0 {
		d.Run = DropRun{NotDropped, d.next, int(c) + 1}
	} else {
		d.Run = DropRun{DropCode(c >> 4 & 7), d.next, int(c&0xf) + 1}
	}
	d.next = d.next.Add(-int64(d.Run.Len))
	return true
}

// AppendDropRun appends a run of n packets as Blocks.
func AppendDropRun(b []byte, code DropCode, n int) []byte {
	most, head := maxDropRun, 0x80|byte(code)<<4
	if code == NotDropped {
		most, head = maxNormalRun, 0
	}
	for n > 0 {
		k := min(n, most)
		b = append(b, head|byte(k-1))
		n -= k
	}
	return b
}

// AppendDataDropped appends the blocks as options, several when one does not
// hold them.
func AppendDataDropped(b, blocks []byte) []byte {
	for len(blocks) > 0 {
		n := min(len(blocks), MaxOptionData)
		b = AppendOption(b, OptDataDropped, blocks[:n]...)
		blocks = blocks[n:]
	}
	return b
}
