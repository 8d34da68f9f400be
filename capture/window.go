package capture

import (
	"errors"
	"io"
)

// windowSize is how much of a file is read at once; it stays in the second
// level cache.
const windowSize = 256 << 10

// window is a stretch of a stream in memory that packets are views of.
type window struct {
	src    io.Reader
	buf    []byte
	r, w   int   // unread octets are buf[r:w]
	offset int64 // of buf[r] in the stream
	err    error // of src, once the window has been used up
}

// need makes n octets available at buf[r:]. It returns io.EOF if there are
// none left and io.ErrUnexpectedEOF if there are some, but too few.
func (w *window) need(n int) ([]byte, error) {
	if w.w-w.r < n {
		if err := w.fill(n); err != nil {
			return nil, err
		}
	}
	return w.buf[w.r : w.r+n], nil
}

func (w *window) fill(n int) error {
	if n > len(w.buf) {
		// n is bounded by the callers.
		buf := make([]byte, max(windowSize, n))
		w.w = copy(buf, w.buf[w.r:w.w])
		w.buf = buf
	} else {
		w.w = copy(w.buf, w.buf[w.r:w.w])
	}
	w.r = 0
	for empty := 0; w.w < n; {
		if w.err != nil {
			if errors.Is(w.err, io.EOF) && w.w > 0 {
				return io.ErrUnexpectedEOF
			}
			return w.err
		}
		var m int
		m, w.err = w.src.Read(w.buf[w.w:])
		w.w += m
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 && w.err == nil {
			w.err = io.ErrNoProgress
		}
	}
	return nil
}

// advance takes n octets that need has provided.
func (w *window) advance(n int) {
	w.r += n
	w.offset += int64(n)
}

// skip passes over n octets without keeping them.
func (w *window) skip(n int64) error {
	for n > 0 {
		if w.r == w.w {
			if _, err := w.need(1); err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
		}
		step := int(min(n, int64(w.w-w.r)))
		w.advance(step)
		n -= int64(step)
	}
	return nil
}
