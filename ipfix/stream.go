package ipfix

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// ReadMessage reads the next message of a stream (TCP, TLS, RFC 5655 files)
// into buf and what append makes of it. It returns io.EOF between messages,
// io.ErrUnexpectedEOF within one, and a [*ParseError] where no message starts:
// the stream cannot be framed any more. It reads r through Peek only as far as
// the header, so that a message may be longer than r's buffer.
func ReadMessage(r *bufio.Reader, buf []byte) ([]byte, error) {
	h, err := r.Peek(HeaderLen)
	if len(h) >= 2 {
		if v := binary.BigEndian.Uint16(h); v != Version {
			return buf[:0], fault(0, "version", versionError(v))
		}
	}
	if len(h) >= 4 {
		if binary.BigEndian.Uint16(h[2:]) < HeaderLen {
			return buf[:0], fault(2, "message length", ErrLength)
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(h) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return buf[:0], err
	}
	n := int(binary.BigEndian.Uint16(h[2:]))
	buf = slices.Grow(buf[:0], n)[:n]
	k, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return buf[:k], err
}
