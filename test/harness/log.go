package harness

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Logged is when the program, whose log must be JSON, wrote lines that hold
// one of texts.
func (p *Process) Logged(texts ...string) []time.Time {
	p.t.Helper()
	var times []time.Time
	for _, l := range p.Lines() {
		if !slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(l, s) }) {
			continue
		}
		var entry struct{ Time time.Time }
		if json.Unmarshal([]byte(l), &entry) == nil && !entry.Time.IsZero() {
			times = append(times, entry.Time)
		}
	}
	return times
}

// LoggedAfter waits for the first such line that was written after a time.
func (p *Process) LoggedAfter(after time.Time, patience time.Duration, texts ...string) time.Time {
	p.t.Helper()
	for end := time.Now().Add(patience); ; {
		p.mu.Lock()
		grown, closed := p.grown, p.closed
		p.mu.Unlock()
		times := p.Logged(texts...)
		if i := slices.IndexFunc(times, after.Before); i >= 0 {
			return times[i]
		}
		if closed {
			p.t.Fatalf("%s ended without a line of %q", p.name, texts)
		}
		select {
		case <-grown:
		case <-time.After(time.Until(end)):
			p.t.Fatalf("%s: no %q within %v", p.name, texts, patience)
		}
	}
}
