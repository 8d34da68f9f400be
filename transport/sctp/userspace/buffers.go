package userspace

import (
	"sync"

	"ipfixsuite/transport/sctp/shim"
)

// bufferSize holds the usual packets and messages; what is longer has its own.
const bufferSize = 2048

var (
	small = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	large = sync.Pool{New: func() any { return new(engineMessage) }}
)

// engineMessage is the largest message that pion may have for us, and a little
// more, to tell one that is too large.
type engineMessage [maxMessage + 1 + shim.EngineTrailer]byte

// take returns an empty buffer for size octets.
func take(size int) []byte {
	if size > bufferSize {
		return make([]byte, 0, size)
	}
	return small.Get().(*[bufferSize]byte)[:0]
}

// give takes a buffer of take back, which nobody uses any more.
func give(b []byte) {
	if cap(b) == bufferSize {
		small.Put((*[bufferSize]byte)(b[:bufferSize]))
	}
}
