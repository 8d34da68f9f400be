package ipfix

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/record"
)

var epoch = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// template makes one of number and length pairs.
func template(t testing.TB, id uint16, scope int, fields ...uint16) *ipfix.Template {
	t.Helper()
	var specs []ipfix.FieldSpec
	for i := 0; i < len(fields); i += 2 {
		specs = append(specs, ipfix.FieldSpec{ID: ie.ID{Num: fields[i]}, Length: fields[i+1]})
	}
	tm, err := ipfix.NewTemplate(id, scope, specs, ie.IANA())
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

func batch(exporter string, session uint64, domain, exportTime uint32, tm *ipfix.Template, body ...byte) *record.Batch {
	n, _ := ipfix.CountRecords(tm, body)
	return &record.Batch{
		Meta:     &record.Meta{Exporter: exporter, Session: session, Domain: domain, ExportTime: exportTime},
		Template: tm, Body: body, Records: n,
	}
}

func open(t testing.TB, dir string, cfg Config) *Sink {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return epoch }
	}
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s *Sink, bs ...*record.Batch) {
	t.Helper()
	for _, b := range bs {
		if err := s.Write(b); err != nil {
			t.Fatal(err)
		}
	}
}

// dump renders a file, a line a set, as a reader that knows nothing sees it.
func dump(t testing.TB, name string) (out []string) {
	t.Helper()
	r, err := ipfixfile.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	templates := map[uint64]*ipfix.Template{}
	sequence := map[uint32]uint32{}
	for {
		msg, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		h, err := ipfix.ParseHeader(msg)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("message %d@%d", h.Domain, h.ExportTime))
		if h.Sequence != sequence[h.Domain] {
			out = append(out, fmt.Sprintf("sequence %d, want %d", h.Sequence, sequence[h.Domain]))
		}
		for set, err := range ipfix.Sets(msg) {
			if err != nil {
				t.Fatal(err)
			}
			key := func(id uint16) uint64 { return uint64(h.Domain)<<16 | uint64(id) }
			if set.ID < ipfix.MinDataSetID {
				for rec, err := range ipfix.ParseTemplates(set.ID, set.Body) {
					if err != nil {
						t.Fatal(err)
					}
					if templates[key(rec.ID)] != nil {
						out = append(out, "DEFINED AGAIN")
					}
					tm, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
					if err != nil {
						t.Fatal(err)
					}
					templates[key(rec.ID)] = tm
					out = append(out, fmt.Sprintf("template %d/%d: %s", rec.ID, rec.Scope, specs(rec.Fields)))
				}
				continue
			}
			tm := templates[key(set.ID)]
			if tm == nil {
				out = append(out, fmt.Sprintf("data %d without a template", set.ID))
				continue
			}
			n, err := ipfix.CountRecords(tm, set.Body)
			if err != nil {
				t.Fatal(err)
			}
			sequence[h.Domain] += uint32(n)
			out = append(out, fmt.Sprintf("data %d: %x", set.ID, set.Body))
		}
	}
}

func specs(fs []ipfix.FieldSpec) string {
	var out []string
	for _, f := range fs {
		out = append(out, fmt.Sprintf("{%s %d}", f.ID, f.Length))
	}
	return fmt.Sprint(out)
}

func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func dumpAll(t testing.TB, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, n := range files(t, dir) {
		out[n] = dump(t, filepath.Join(dir, n))
	}
	return out
}
