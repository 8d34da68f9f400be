package ie

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// LoadError is a fault in a file of elements.
type LoadError struct {
	File         string
	Line, Column int // from 1; Column counts octets; 0 if the line is meant
	Err          error
}

func (e *LoadError) Error() string {
	if e.Column == 0 {
		return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err)
}

func (e *LoadError) Unwrap() error { return e.Err }

// columns is the order of a file without a heading. A heading may give
// another one, leave out those after dataType, and have more, which are
// skipped; so files as IANA publishes them can be read.
var columns = []string{"pen", "elementId", "name", "dataType", "semantics", "units", "range", "group", "status"}

// required is how many of columns must be there.
const required = 4

// row is an element with the place it was read from.
type row struct {
	Element
	line int
	cols [4]int // of pen, elementId, name, dataType
}

// Load takes in the enterprise elements of a CSV file called name: columns
// pen, elementId, name, dataType, semantics, units, range, with a heading or
// without; lines that begin with # are comments. All of the file is taken in,
// or nothing.
//
// Numbers of IANA's that this program does not know yet can be given with
// pen 0; those that it knows cannot be changed.
func (r *Registry) Load(rd io.Reader, name string) error {
	if r == nil || r.frozen {
		return fmt.Errorf("%s: elements can be loaded into an overlay only", name)
	}
	rows, err := readCSV(rd, name, -1)
	if err != nil {
		return err
	}
	seen, names := make(map[ID]int), make(map[string]int)
	for i := range rows {
		w := &rows[i]
		fail := func(col int, err error) error {
			return &LoadError{File: name, Line: w.line, Column: col, Err: err}
		}
		if w.PEN == ReversePEN {
			return fail(w.cols[0], fmt.Errorf("reverse elements (pen %d) follow from IANA's, leave this line out", ReversePEN))
		}
		if line, ok := seen[w.ID]; ok {
			return fail(w.cols[1], fmt.Errorf("element %v stands in line %d already", w.ID, line))
		}
		if e := r.Lookup(w.ID); e != nil {
			return fail(w.cols[1], fmt.Errorf("%w: %v is %s", ErrKnown, w.ID, e.Name))
		}
		if err := CheckName(w.Name); err != nil {
			return fail(w.cols[2], err)
		}
		folded := strings.ToLower(w.Name)
		if line, ok := names[folded]; ok {
			return fail(w.cols[2], fmt.Errorf("the name %s stands in line %d already", w.Name, line))
		}
		if id, ok := r.bearer(w.Name); ok {
			return fail(w.cols[2], fmt.Errorf("%w: %s is element %v", ErrName, w.Name, id))
		}
		seen[w.ID], names[folded] = w.line, w.line
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded+len(rows) > MaxLoaded {
		return fmt.Errorf("%s: %w: %d, at most %d", name, ErrFull, r.loaded+len(rows), MaxLoaded)
	}
	r.loaded += len(rows)
	for i := range rows {
		r.add(&rows[i].Element)
	}
	return nil
}

// readCSV reads the rows of a file. pen is the enterprise of files that have
// no pen column, -1 if they must have one.
func readCSV(rd io.Reader, file string, pen int64) ([]row, error) {
	c := csv.NewReader(rd)
	c.Comment, c.FieldsPerRecord, c.ReuseRecord, c.TrimLeadingSpace = '#', -1, true, true
	index := make([]int, len(columns)) // column -> field, -1 not there
	for i := range index {
		index[i] = i
	}
	var rows []row
	for first := true; ; first = false {
		fields, err := c.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, csvFault(file, err)
		}
		if first {
			fields[0] = strings.TrimPrefix(fields[0], "\ufeff")
			if heading(fields) {
				if err := readHeading(index, fields, pen); err != nil {
					line, _ := c.FieldPos(0)
					return nil, &LoadError{File: file, Line: line, Err: err}
				}
				continue
			}
		}
		if len(rows) == MaxLoaded {
			line, _ := c.FieldPos(0)
			return nil, &LoadError{File: file, Line: line, Err: fmt.Errorf("%w: at most %d", ErrFull, MaxLoaded)}
		}
		w, fault := readRow(c, fields, index, pen)
		if fault != nil {
			fault.File = file
			return nil, fault
		}
		rows = append(rows, w)
	}
}

func csvFault(file string, err error) error {
	if p, ok := errors.AsType[*csv.ParseError](err); ok {
		return &LoadError{File: file, Line: p.Line, Column: p.Column, Err: p.Err}
	}
	return fmt.Errorf("%s: %w", file, err)
}

// heading: the first line of a file is one if no field of it is a number.
func heading(fields []string) bool {
	for _, f := range fields {
		if f = strings.TrimSpace(f); f != "" && f[0] >= '0' && f[0] <= '9' {
			return false
		}
	}
	return true
}

func readHeading(index []int, fields []string, pen int64) error {
	for i, column := range columns {
		index[i] = -1
		for k, f := range fields {
			if strings.EqualFold(strings.TrimSpace(f), column) {
				index[i] = k
			}
		}
		if index[i] < 0 && i < required && (i > 0 || pen < 0) {
			return fmt.Errorf("no column %s in the heading, expected %s", column, strings.Join(columns[:7], ","))
		}
	}
	return nil
}

// readRow reads one element; the error lacks the file.
func readRow(c *csv.Reader, fields []string, index []int, pen int64) (w row, fault *LoadError) {
	w.line, _ = c.FieldPos(0)
	get := func(column int) (string, int) {
		k := index[column]
		if k < 0 || k >= len(fields) {
			return "", 0
		}
		_, col := c.FieldPos(k)
		return strings.TrimSpace(fields[k]), col
	}
	fail := func(col int, err error) (row, *LoadError) {
		return row{}, &LoadError{Line: w.line, Column: col, Err: err}
	}
	if len(fields) < required {
		return fail(0, fmt.Errorf("%d columns, expected at least %s", len(fields), strings.Join(columns[:required], ",")))
	}
	if index[0] < 0 {
		w.PEN = uint32(pen)
	} else {
		s, col := get(0)
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return fail(col, fmt.Errorf("private enterprise number %q, expected 0 to %d", clip(s), uint32(1<<32-1)))
		}
		w.PEN, w.cols[0] = uint32(n), col
	}
	s, col := get(1)
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 && w.PEN == 0 || n > MaxNumber {
		return fail(col, fmt.Errorf("element number %q, expected 1 to %d without the enterprise bit", clip(s), MaxNumber))
	}
	w.Num, w.cols[1] = uint16(n), col
	w.Name, w.cols[2] = get(2)
	s, w.cols[3] = get(3)
	if w.Type, err = ParseDataType(s); err != nil {
		return fail(w.cols[3], err)
	}
	s, col = get(4)
	if w.Semantics, err = ParseSemantics(s); err != nil {
		return fail(col, err)
	}
	s, col = get(5)
	if w.Units = s; strings.EqualFold(s, "none") {
		w.Units = ""
	} else if len(s) > MaxName {
		return fail(col, fmt.Errorf("units of %d octets, at most %d", len(s), MaxName))
	}
	s, col = get(6)
	if w.Min, w.Max, err = parseRange(s); err != nil {
		return fail(col, err)
	}
	w.Group, _ = get(7)
	w.Status, _ = get(8)
	return w, nil
}

// parseRange reads "0-63" or "0-0xFFFFF"; nothing is no range.
func parseRange(s string) (lo, hi uint64, err error) {
	if s == "" {
		return 0, 0, nil
	}
	a, b, ok := strings.Cut(s, "-")
	if ok {
		lo, err = strconv.ParseUint(strings.TrimSpace(a), 0, 64)
		if err == nil {
			hi, err = strconv.ParseUint(strings.TrimSpace(b), 0, 64)
		}
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("range %q, expected two numbers as in 0-63", clip(s))
	}
	if lo > hi {
		return 0, 0, fmt.Errorf("range %q begins after its end", clip(s))
	}
	return lo, hi, nil
}
