package ipfixfile

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

// readBuffer holds two messages of the greatest length, which finding the
// next message after garbage needs to see, and is large enough to make the
// cost of read(2) vanish.
const readBuffer = 256 << 10

// FormatError says which octets of a file are no message. The Reader goes on
// behind them.
type FormatError struct {
	Offset int64  // of the first octet that could not be read as a message
	Length int64  // octets skipped
	Reason string // what is wrong at Offset
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("offset %d: %s (%d octets skipped)", e.Offset, e.Reason, e.Length)
}

// ReaderStats counts what a Reader has met so far.
type ReaderStats struct {
	Messages     uint64
	Octets       uint64 // in messages
	Faults       uint64 // stretches that are no message
	OctetsFaulty uint64 // in those
}

// A Reader takes an IPFIX File apart into its messages.
type Reader struct {
	src    io.Reader
	buf    []byte
	r, w   int   // buf[r:w] has been read and not yet delivered
	base   int64 // offset of buf[0] in the file
	err    error // of src; io.EOF at the end
	offset int64
	stats  ReaderStats
	file   io.Closer // nil: not ours
}

// NewReader reads messages from src, which is not unpacked.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, readBuffer)}
}

// Open opens a file; bzip2 and gzip are recognised by their first octets
// (RFC 5655, Section 10.2).
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	src, err := Unpack(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := NewReader(src)
	r.file = f
	return r, nil
}

// Unpack returns what src holds, decompressed if it starts like gzip or
// bzip2.
func Unpack(src io.Reader) (io.Reader, error) {
	br := bufio.NewReaderSize(src, 64<<10)
	magic, err := br.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1F, 0x8B}):
		return gzip.NewReader(br)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(br), nil
	}
	return br, nil
}

// Close closes the file that Open opened.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// Offset is where the message last returned by Next starts.
func (r *Reader) Offset() int64 { return r.offset }

// Stats tells what has been read so far.
func (r *Reader) Stats() ReaderStats { return r.stats }

// Next returns the next message, valid until the next call. A *FormatError
// is no end: the next call delivers what follows the garbage. io.EOF comes
// after the last message; any other error is the source's and stays.
func (r *Reader) Next() ([]byte, error) {
	r.fill(headerLen)
	if r.r == r.w {
		return nil, r.err
	}
	n := messageLen(r.buf[r.r:r.w])
	if n == 0 {
		return nil, r.skip(0, "no IPFIX message header")
	}
	if !r.fill(n + 4) { // the next header confirms this one
		if r.w-r.r < n {
			if !r.atEOF() {
				return nil, r.err
			}
			return nil, r.skip(2, fmt.Sprintf("message of %d octets is truncated after %d", n, r.w-r.r))
		}
		if r.w-r.r == n {
			return r.deliver(n), nil
		}
	}
	if messageLen(r.buf[r.r+n:r.w]) == 0 && !r.trust(n) {
		return nil, r.skip(2, fmt.Sprintf("message of %d octets is garbled", n))
	}
	return r.deliver(n), nil
}

func (r *Reader) deliver(n int) []byte {
	msg := r.buf[r.r : r.r+n : r.r+n]
	r.offset = r.base + int64(r.r)
	r.r += n
	r.stats.Messages++
	r.stats.Octets += uint64(n)
	return msg
}

// skip moves to the next place, from octets on, where a message is likely to
// start: a header at whose end another header or the end of the file stands
// (RFC 5655, Section 10.3).
func (r *Reader) skip(from int, reason string) error {
	e := &FormatError{Offset: r.base + int64(r.r), Reason: reason}
	r.r += min(from, r.w-r.r)
	for {
		r.fill(2*maxMessage + 4)
		i := bytes.Index(r.buf[r.r:r.w], []byte{0, version})
		if i < 0 {
			if r.err != nil {
				r.r = r.w
				break
			}
			r.r = max(r.r, r.w-1) // its last octet may be half a version
			continue
		}
		r.r += i
		r.fill(2*maxMessage + 4)
		if r.plausible(r.r) {
			break
		}
		r.r += min(2, r.w-r.r)
	}
	e.Length = r.base + int64(r.r) - e.Offset
	r.stats.Faults++
	r.stats.OctetsFaulty += uint64(e.Length)
	return e
}

// trust decides about a message of n octets behind which no other follows:
// is it whole and garbage stands behind it, or is it itself cut or its length
// wrong? It is not to be trusted if its sets do not fill it, or if the true
// next message starts within.
func (r *Reader) trust(n int) bool {
	if !setsFit(r.buf[r.r : r.r+n]) {
		return false
	}
	r.fill(2*maxMessage + 4)
	for at := r.r + 2; ; at += 2 {
		i := bytes.Index(r.buf[at:r.r+n], []byte{0, version})
		if i < 0 {
			return true
		}
		at += i
		if r.plausible(at) {
			return false
		}
	}
}

// plausible tells whether a message is likely to start at buf[at]: its sets
// fill it, and another header or the end of the file follows (RFC 5655,
// Section 10.3, which does without the sets).
func (r *Reader) plausible(at int) bool {
	b := r.buf[at:r.w]
	n := messageLen(b)
	if n == 0 || n > len(b) || !setsFit(b[:n]) {
		return false
	}
	if n == len(b) {
		return r.atEOF()
	}
	return messageLen(b[n:]) != 0
}

func (r *Reader) atEOF() bool { return errors.Is(r.err, io.EOF) }

// fill tries to have n octets at r.r and tells whether it has.
func (r *Reader) fill(n int) bool {
	if r.w-r.r >= n {
		return true
	}
	if len(r.buf)-r.r < n {
		copy(r.buf, r.buf[r.r:r.w])
		r.base += int64(r.r)
		r.w -= r.r
		r.r = 0
	}
	for idle := 0; r.w-r.r < n && r.err == nil; {
		m, err := r.src.Read(r.buf[r.w:])
		r.w += m
		r.err = err
		if idle++; m > 0 {
			idle = 0
		}
		if idle == 100 {
			r.err = io.ErrNoProgress
		}
	}
	return r.w-r.r >= n
}
