package capture

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxCapture is the longest packet a file may hold, tcpdump's and Wireshark's
// limit. Longer ones mean that the reader has lost the thread.
const maxCapture = 256 << 10

// Magic numbers, as the first four octets in big-endian order.
const (
	magicMicro     = 0xa1b2c3d4
	magicMicroLE   = 0xd4c3b2a1
	magicNano      = 0xa1b23c4d
	magicNanoLE    = 0x4d3cb2a1
	magicModified  = 0xa1b2cd34 // Kuznetzov's: 8 more octets a packet
	magicModLE     = 0x34cdb2a1
	magicSection   = 0x0a0d0d0a // pcapng's section header block, the same both ways
	magicGzip      = 0x1f8b     // the first two octets
	magicByteOrder = 0x1a2b3c4d
)

// ErrFormat is wrapped by errors of what is no capture file at all.
var ErrFormat = errors.New("neither pcap nor pcapng")

// Reader reads the packets of a pcap or pcapng file. After an error it
// returns the same error again.
type Reader struct {
	win  window
	ng   bool // pcapng
	err  error
	last int64 // time of the packet before, for those without

	pcap   pcapState
	pcapng pcapngState
}

// NewReader reads the file's header. gzip is undone.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{win: window{src: src}}
	b, err := r.win.need(2)
	if err == nil && binary.BigEndian.Uint16(b) == magicGzip {
		z, err := gzip.NewReader(&r.win)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		r = &Reader{win: window{src: z}}
	}
	b, err = r.win.need(4)
	if err != nil {
		return nil, r.fault("file header", err)
	}
	switch magic := binary.BigEndian.Uint32(b); magic {
	case magicSection:
		r.ng = true
		return r, nil
	case magicMicro, magicMicroLE, magicNano, magicNanoLE, magicModified, magicModLE:
		return r, r.pcapHeader(magic)
	default:
		return nil, r.fault("magic number", fmt.Errorf("%#08x: %w", magic, ErrFormat))
	}
}

// Read makes a window the source of the gzip reader that follows it.
func (w *window) Read(p []byte) (int, error) {
	if w.r == w.w {
		if _, err := w.need(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.r:w.w])
	w.advance(n)
	return n, nil
}

// Next returns the next packet. Its data is valid until the call after.
func (r *Reader) Next() (Packet, error) {
	var p Packet
	switch {
	case r.err != nil:
	case r.ng:
		r.err = r.nextBlock(&p)
	default:
		r.err = r.nextRecord(&p)
	}
	return p, r.err
}

// fault says where in the file something is wrong; io.EOF between two packets
// is none.
func (r *Reader) fault(field string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &ParseError{Offset: r.win.offset, Field: field, Err: err}
}

// File is an open capture file.
type File struct {
	*Reader
	file *os.File
}

// OpenFile opens a pcap or pcapng file; "-" is the standard input.
func OpenFile(path string) (*File, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{Reader: r, file: f}, nil
}

// Next returns the next packet; an error but io.EOF names the file.
func (f *File) Next() (Packet, error) {
	p, err := f.Reader.Next()
	if err != nil && err != io.EOF { //nolint:errorlint // Reader returns io.EOF itself
		err = fmt.Errorf("%s: %w", f.file.Name(), err)
	}
	return p, err
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
