package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"ipfixsuite/transport"
)

const (
	headerLen   = 16 // of an IPFIX Message (RFC 7011, Section 3.1)
	ipfixNumber = 10 // its version
	// firstBuffer is what an idle stream keeps, busyBuffer what one whose
	// octets fill it, fullBuffer what the longest message needs.
	firstBuffer = 4 << 10
	busyBuffer  = 32 << 10
	fullBuffer  = 128 << 10
)

// ErrOutOfSync says that what came is no IPFIX Message: where the next one
// begins is not known any more.
var ErrOutOfSync = errors.New("stream lost its synchronisation")

// Framer finds the messages of a byte stream by the length in their headers
// (RFC 7011, Section 10.4). The zero value is ready: read into Room, then tell
// Took.
type Framer struct {
	buf  []byte
	have int
	busy bool // the last read filled it
}

// Room is where the next octets are to be read to; never empty.
func (f *Framer) Room() []byte {
	switch {
	case f.buf == nil:
		f.buf = make([]byte, firstBuffer)
	case f.have >= headerLen && int(binary.BigEndian.Uint16(f.buf[2:])) > max(len(f.buf), busyBuffer) || f.have == len(f.buf) && f.have >= busyBuffer:
		f.grow(fullBuffer)
	case len(f.buf) < busyBuffer && (f.busy || f.have >= headerLen && int(binary.BigEndian.Uint16(f.buf[2:])) > len(f.buf)):
		f.grow(busyBuffer)
	}
	return f.buf[f.have:]
}

func (f *Framer) grow(n int) {
	f.buf = append(make([]byte, 0, n), f.buf[:f.have]...)[:n]
}

// Pending is how many octets of an unfinished message there are.
func (f *Framer) Pending() int { return f.have }

// Took hands over the messages that n more octets complete. It returns how
// many these are and their length in all, or ErrOutOfSync.
func (f *Framer) Took(n int, r transport.Receiver, now time.Time) (messages, octets int, err error) {
	f.have += n
	f.busy = f.have == len(f.buf)
	for f.have-octets >= headerLen {
		m := f.buf[octets:f.have]
		version, length := binary.BigEndian.Uint16(m), int(binary.BigEndian.Uint16(m[2:]))
		if version != ipfixNumber || length < headerLen {
			err = fmt.Errorf("%w: version %d, length %d where a message's header should be", ErrOutOfSync, version, length)
			break
		}
		if length > len(m) {
			break
		}
		r.Message(transport.Incoming{Data: m[:length], Received: now})
		octets += length
		messages++
	}
	f.have = copy(f.buf, f.buf[octets:f.have])
	return messages, octets, err
}
