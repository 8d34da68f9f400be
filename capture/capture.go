package capture

import "fmt"

// LinkType is the link layer of a packet, by its LINKTYPE_ number.
type LinkType uint16

// Link types of live captures.
const (
	LinkEthernet LinkType = 1
	LinkRaw      LinkType = 101
)

// Packet is one packet as it was captured.
type Packet struct {
	Time      int64  // nanoseconds since 1970, UTC
	Data      []byte // from the link layer on; a view, valid until the next Next
	Length    int    // octets on the wire; more than len(Data) if the capture cut it
	Interface uint32 // live: the interface's index; pcapng: 1 + its number in the file; else 0
	Link      LinkType
}

// Source hands out packets. Next returns io.EOF after the last one.
type Source interface {
	Next() (Packet, error)
}

// ParseError is a fault of a capture file. All packets before it have been
// handed out.
type ParseError struct {
	Offset int64  // of the faulty record or block in the (uncompressed) file
	Field  string // what is wrong there
	Err    error
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("offset %d: %s: %v", e.Offset, e.Field, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }
