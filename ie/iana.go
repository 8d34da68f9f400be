package ie

import (
	_ "embed"
	"strings"
	"sync"
)

// ianaCSV is IANA's registry "IPFIX Information Elements" as a table.
//
//go:embed iana.csv
var ianaCSV string

// table is IANA's registry, immutable.
type table struct {
	forward []*Element // by number
	back    []*Element // the reverse elements, by number
	names   map[string]*Element
	folded  map[string]ID
}

// base is parsed once, when it is needed first.
var base = sync.OnceValue(func() *table {
	rows, err := readCSV(strings.NewReader(ianaCSV), "iana.csv", 0)
	if err != nil {
		panic(err) // the embedded file is part of the program
	}
	t := &table{names: make(map[string]*Element), folded: make(map[string]ID)}
	last := 0
	for _, row := range rows {
		last = max(last, int(row.Num))
	}
	t.forward, t.back = make([]*Element, last+1), make([]*Element, last+1)
	put := func(in []*Element, e *Element) {
		in[e.Num] = e
		t.names[e.Name] = e
		t.folded[strings.ToLower(e.Name)] = e.ID
	}
	for i := range rows {
		e := &rows[i].Element
		put(t.forward, e)
		if e.Reversible() {
			put(t.back, e.reverse())
		}
	}
	return t
})

func (t *table) lookup(id ID) *Element {
	if int(id.Num) >= len(t.forward) {
		return nil
	}
	switch id.PEN {
	case 0:
		return t.forward[id.Num]
	case ReversePEN:
		return t.back[id.Num]
	}
	return nil
}

var iana = sync.OnceValue(func() *Registry { return &Registry{frozen: true} })

// IANA is the embedded registry with the reverse elements (RFC 5103) made
// from it. It is shared and takes nothing in.
func IANA() *Registry { return iana() }
