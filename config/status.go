package config

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// A Status is a last line of a terminal that is written over as work goes on.
// What else is written to the terminal stands above it.
type Status struct {
	mu   sync.Mutex
	w    io.Writer
	text string
}

// maxStatus keeps the line from being wrapped, which could not be undone.
const maxStatus = 79

// clearLine goes to the line's beginning and clears it.
const clearLine = "\r\x1b[K"

// NewStatus returns a Status on w, or nil if w is no terminal that knows how
// to write over a line.
func NewStatus(w io.Writer) *Status {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb" {
		return nil
	}
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &Status{w: w}
}

// Show makes text the last line; empty: there is none.
func (s *Status) Show(text string) {
	if r := []rune(text); len(r) > maxStatus {
		text = string(r[:maxStatus-1]) + "…"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == s.text {
		return
	}
	s.text = text
	fmt.Fprint(s.w, clearLine+text)
}

// Write writes whole lines above the last one.
func (s *Status) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == "" {
		return s.w.Write(b)
	}
	if _, err := io.WriteString(s.w, clearLine); err != nil {
		return 0, err
	}
	n, err := s.w.Write(b)
	fmt.Fprint(s.w, s.text)
	return n, err
}
