package main

import (
	"fmt"
	"io"
)

// A target is a ratio or a number of nanoseconds that has to be met on T20
// (BENCHMARKS.md).
type target struct {
	ours, peer string // no peer: limit is in ns
	limit      float64
}

var targets = []target{
	{"typed values", "calmh/ipfix + Interpret", 20},
	{"typed values", "goflow2 decode", 12},
	{"typed values", "libfixbuf decode", 3},
	{"locate", "", 8},
	{"typed values", "", 40},
	{"columns", "", 22},
	{"encode by plan", "libfixbuf encode", 4},
	{"encode by plan", "", 30},
	{"encode, straight-line", "", 10},
	{"JSON", "goflow2 JSON", 200},
	{"JSON", "goflow2 protobuf", 8},
	{"JSON", "", 180},
}

// order is that of the rows.
var order = []string{
	"locate", "views", "typed values", "columns", "decode, straight-line",
	"calmh/ipfix ParseBuffer", "calmh/ipfix + Interpret", "goflow2 decode", "libfixbuf decode",
	"encode by plan", "encode by plan, 500 rows", "encode, straight-line", "libfixbuf encode",
	"JSON", "goflow2 protobuf", "goflow2 JSON",
}

// printTimes prints ns a record and allocations a record for each workload.
func printTimes(out io.Writer, names []string, all map[string]map[string]result) {
	fmt.Fprint(out, "| ns a record (allocations) |")
	for _, n := range names {
		fmt.Fprintf(out, " %s |", n)
	}
	fmt.Fprint(out, "\n|---|")
	for range names {
		fmt.Fprint(out, "---:|")
	}
	fmt.Fprintln(out)
	for _, row := range order {
		line, any := "| "+row+" |", false
		for _, n := range names {
			r, ok := all[n][row]
			switch {
			case !ok:
				line += " |"
			case r.err != nil:
				line += " " + r.err.Error() + " |"
			default:
				any = true
				line += fmt.Sprintf(" %.1f (%.3g) |", r.ns, r.allocs)
			}
		}
		if any {
			fmt.Fprintln(out, line)
		}
	}
}

// printTargets compares T20 with the targets; it reports how many are missed.
func printTargets(out io.Writer, t20 map[string]result) (missed int) {
	fmt.Fprint(out, "\n| T20 | target | measured | |\n|---|---:|---:|---|\n")
	for _, t := range targets {
		ours, ok := t20[t.ours]
		if !ok || ours.ns == 0 {
			continue
		}
		var want, got string
		var met bool
		if t.peer == "" {
			want, got = fmt.Sprintf("<= %g ns", t.limit), fmt.Sprintf("%.1f ns", ours.ns)
			met = ours.ns <= t.limit
		} else {
			peer, ok := t20[t.peer]
			if !ok || peer.ns == 0 {
				continue
			}
			want, got = fmt.Sprintf(">= %gx %s", t.limit, t.peer), fmt.Sprintf("%.1fx", peer.ns/ours.ns)
			met = peer.ns/ours.ns >= t.limit
		}
		verdict := "met"
		if !met {
			verdict = "missed"
			missed++
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", t.ours, want, got, verdict)
	}
	return missed
}
