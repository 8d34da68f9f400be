package ipfix

import "encoding/binary"

// Columns holds the Data Records of one set by field instead of by record, as
// columnar sinks want them. It keeps its memory from set to set.
type Columns struct {
	t     *Template
	body  []byte
	n     int
	cols  [][]uint64
	runs  int      // fixed runs of a record: 1 more than its variable fields
	index []uint32 // record k's run r starts at index[k*runs+r]
}

// Len is the number of records.
func (c *Columns) Len() int { return c.n }

// Nums is the column of field i as [Value.Num] defines it, one a record; nil
// if the type has no numbers. It is valid until the next fill.
func (c *Columns) Nums(i int) []uint64 {
	if !numeric(c.t.Fields[i].Type) {
		return nil
	}
	return c.cols[i]
}

// View is the octets of field i of record k, without length octets, a view of
// the set's body.
func (c *Columns) View(i, k int) []byte {
	f := &c.t.Fields[i]
	p, n := c.start(c.t.runOf(i), k)+int(f.off), int(f.Length)
	if n == VariableLength {
		p, n = variable(c.body, p)
	}
	return c.body[p : p+n : p+n]
}

func (c *Columns) start(run, k int) int {
	if c.t.RecordLen > 0 {
		return k * c.t.RecordLen
	}
	return int(c.index[k*c.runs+run])
}

// runOf is the number of variable-length fields before field i.
func (t *Template) runOf(i int) int {
	k := 0
	for k < len(t.vars) && int(t.vars[k].index) < i {
		k++
	}
	return k
}

// Columns moves over all records that are left in the set and fills c with
// them; it returns their number. A fault ends the fill as it ends Next.
func (r *Records) Columns(c *Columns) int {
	t := r.t
	c.t = t
	if cap(c.cols) < len(t.Fields) {
		cols := make([][]uint64, len(t.Fields))
		copy(cols, c.cols[:cap(c.cols)])
		c.cols = cols
	}
	c.cols = c.cols[:len(t.Fields)]
	if t.RecordLen > 0 {
		c.body = r.body[r.end:]
		c.n = len(c.body) / t.RecordLen
		r.end += c.n * t.RecordLen
		r.start = r.end
	} else {
		c.walk(r)
	}
	if c.n == 0 {
		return 0
	}
	for i := range t.Fields {
		f := &t.Fields[i]
		if f.kind >= kindOctets && !numeric(f.Type) {
			continue
		}
		col := c.cols[i]
		if cap(col) < c.n {
			col = make([]uint64, c.n+c.n/2)
		}
		col = col[:c.n]
		c.cols[i] = col
		switch {
		case f.kind >= kindOctets:
			for k := range col {
				col[k] = number(f.Type, c.View(i, k))
			}
		case t.RecordLen > 0:
			fixedColumn(col, c.body[f.off:], t.RecordLen, int(f.Length))
		default:
			c.indexColumn(col, c.body[f.off:], t.runOf(i), int(f.Length))
		}
	}
	return c.n
}

// walk finds where the runs of each record start: the first with the record,
// the last before its fixed tail, those between behind variable fields.
func (c *Columns) walk(r *Records) {
	vars, tail := r.t.vars, int(r.t.tail)
	c.body, c.runs, c.n = r.body, len(vars)+1, 0
	index := c.index[:0]
	for r.nextVariable() {
		p := r.start
		index = append(index, uint32(p))
		for i := range len(vars) - 1 {
			var n int
			if i < maxStops {
				p, n = variable(r.body, r.start+int(r.stops[i]))
			} else {
				p, n = variable(r.body, p+int(vars[i].skip))
			}
			p += n
			index = append(index, uint32(p))
		}
		index = append(index, uint32(r.end-tail))
		c.n++
	}
	c.index = index
}

// fixedColumn gathers the numbers of n octets that stand step octets apart.
func fixedColumn(col []uint64, b []byte, step, n int) {
	p := 0
	switch n {
	case 1:
		for k := range col {
			col[k] = uint64(b[p])
			p += step
		}
	case 2:
		for k := range col {
			col[k] = uint64(binary.BigEndian.Uint16(b[p:]))
			p += step
		}
	case 4:
		for k := range col {
			col[k] = uint64(binary.BigEndian.Uint32(b[p:]))
			p += step
		}
	case 8:
		for k := range col {
			col[k] = binary.BigEndian.Uint64(b[p:])
			p += step
		}
	default:
		for k := range col {
			col[k] = unsigned(b[p : p+n])
			p += step
		}
	}
}

// indexColumn gathers the numbers of n octets that stand at the starts of run.
func (c *Columns) indexColumn(col []uint64, b []byte, run, n int) {
	index, step := c.index, c.runs
	switch n {
	case 1:
		for k := range col {
			col[k] = uint64(b[index[run]])
			run += step
		}
	case 2:
		for k := range col {
			col[k] = uint64(binary.BigEndian.Uint16(b[index[run]:]))
			run += step
		}
	case 4:
		for k := range col {
			col[k] = uint64(binary.BigEndian.Uint32(b[index[run]:]))
			run += step
		}
	case 8:
		for k := range col {
			col[k] = binary.BigEndian.Uint64(b[index[run]:])
			run += step
		}
	default:
		for k := range col {
			col[k] = unsigned(b[index[run]:][:n])
			run += step
		}
	}
}
