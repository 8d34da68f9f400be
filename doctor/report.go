package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Status is how bad a Finding is.
type Status uint8

// The statuses. Warn is what works and should be looked at.
const (
	OK Status = iota
	Warn
	Fail
)

func (s Status) String() string { return [...]string{"OK", "WARN", "FAIL"}[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is what one step came to.
type Finding struct {
	Step   string `json:"step"`
	Status Status `json:"status"`
	Saw    string `json:"saw"`
	Hint   string `json:"hint,omitempty"` // what to do
}

// Section is the findings about one thing.
type Section struct {
	Of       string    `json:"of"`
	Well     bool      `json:"well"` // nothing failed
	Findings []Finding `json:"findings"`

	counts bool
	told   func(Finding)
}

// Add appends a finding. Text of peers and files is made one printable line.
func (s *Section) Add(f Finding) {
	f.Saw, f.Hint = clean(f.Saw), clean(f.Hint)
	s.Findings = append(s.Findings, f)
	if f.Status == Fail {
		s.Well = false
	}
	if s.told != nil {
		s.told(f)
	}
}

// OK adds what is as it should be.
func (s *Section) OK(step, format string, args ...any) {
	s.Add(Finding{Step: step, Saw: fmt.Sprintf(format, args...)})
}

// Warn adds what should be looked at.
func (s *Section) Warn(step, hint, format string, args ...any) {
	s.Add(Finding{step, Warn, fmt.Sprintf(format, args...), hint})
}

// Fail adds what keeps records from arriving.
func (s *Section) Fail(step, hint, format string, args ...any) {
	s.Add(Finding{step, Fail, fmt.Sprintf(format, args...), hint})
}

// Report collects sections, and writes findings as they come, or, as JSON, all
// at the end.
type Report struct {
	w        io.Writer
	json     bool
	sections []*Section
	err      error // the first of writing
}

// NewReport writes to w; asJSON: one object, by Close.
func NewReport(w io.Writer, asJSON bool) *Report { return &Report{w: w, json: asJSON} }

// Section begins the next section. What counts is a patient of its own in the
// last line; others are what all patients share.
func (r *Report) Section(of string, counts bool) *Section {
	s := &Section{Of: clean(of), Well: true, Findings: []Finding{}, counts: counts}
	r.sections = append(r.sections, s)
	if !r.json {
		r.printf("%s\n", s.Of)
		s.told = func(f Finding) {
			r.printf("  %-4s  %s: %s\n", f.Status, f.Step, f.Saw)
			if f.Hint != "" {
				r.printf("        hint: %s\n", f.Hint)
			}
		}
	}
	return s
}

func (r *Report) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(r.w, format, args...); err != nil && r.err == nil {
		r.err = err
	}
}

// Close writes the end: how many of what, such as "collectors", are well. It
// reports whether nothing failed anywhere.
func (r *Report) Close(what string) (well bool, err error) {
	well = true
	n, of := 0, 0
	for _, s := range r.sections {
		well = well && s.Well
		if s.counts {
			of++
			if s.Well {
				n++
			}
		}
	}
	if !r.json {
		r.printf("%d of %d %s are well\n", n, of, what)
		return well, r.err
	}
	b, err := json.MarshalIndent(struct {
		Well     int        `json:"well"`
		Of       int        `json:"of"`
		What     string     `json:"what"`
		Sections []*Section `json:"sections"`
	}{n, of, what, r.sections}, "", "  ")
	if err != nil {
		return false, err
	}
	r.printf("%s\n", b)
	return well, r.err
}

// clean shows what cannot be printed, which a peer or a file may have brought,
// as what it is.
func clean(s string) string {
	s = strings.TrimSpace(s)
	if !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("; ")
		case odd(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func odd(r rune) bool { return !unicode.IsPrint(r) }
