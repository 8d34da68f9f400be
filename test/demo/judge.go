package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// shown is how many flows are printed.
const shown = 12

// judge prints flows and both summaries and says whether every record that was
// exported arrived and was written. The lines of the files are counted too, so
// that the verdict does not rest on the programs' own words alone.
func judge(out io.Writer, flows string) error {
	lines, err := show(out, flows)
	if err != nil {
		return err
	}
	exporter, err := summary("exporter.json")
	if err != nil {
		return err
	}
	collector, err := summary("collector.json")
	if err != nil {
		return err
	}
	step(out, "exporter: %s", pick(exporter, "records_exported", "records_sent", "records_dropped", "messages_sent", "templates_sent", "heartbeats_answered", "cpu_seconds"))
	step(out, "collector: %s", pick(collector, "records_received", "records_written", "records_lost", "records_undecodable", "messages_received", "templates_received", "cpu_seconds"))

	n := exporter["records_exported"]
	for what, got := range map[string]float64{
		"received": collector["records_received"], "written": collector["records_written"], "lines in " + flows: float64(lines),
	} {
		if got != n {
			err = errors.Join(err, fmt.Errorf("%.0f records exported, but %.0f %s", n, got, what))
		}
	}
	for what, got := range map[string]float64{
		"dropped": exporter["records_dropped"], "lost": collector["records_lost"], "undecodable": collector["records_undecodable"],
	} {
		if got != 0 {
			err = errors.Join(err, fmt.Errorf("%.0f records %s", got, what))
		}
	}
	if n == 0 {
		err = errors.Join(err, errors.New("no record was exported"))
	}
	if err == nil {
		step(out, "all %.0f records arrived over DTLS and were written to ./%s", n, flows)
	}
	return err
}

// show prints the first flows as a table and counts all lines.
func show(out io.Writer, dir string) (lines int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return 0, err
		}
		for s := bufio.NewScanner(f); s.Scan(); lines++ {
			if lines >= shown {
				continue
			}
			var r map[string]any
			if err := json.Unmarshal(s.Bytes(), &r); err != nil {
				return 0, errors.Join(fmt.Errorf("%s: %w", file, err), f.Close())
			}
			if lines == 0 {
				fmt.Fprintf(out, "   %-23s %-5s %-26s %-26s %8s %10s\n", "start", "proto", "source", "destination", "packets", "octets")
			}
			fmt.Fprintf(out, "   %-23v %-5v %-26s %-26s %8v %10v\n", r["flowStartMilliseconds"], r["protocolIdentifier"],
				end(r, "source"), end(r, "destination"), r["packetDeltaCount"], r["octetDeltaCount"])
		}
		if err := f.Close(); err != nil {
			return 0, err
		}
	}
	if lines > shown {
		fmt.Fprintf(out, "   … and %d more in ./%s\n", lines-shown, dir)
	}
	return lines, nil
}

// end is the address and port of one end of a flow.
func end(r map[string]any, side string) string {
	if a, ok := r[side+"IPv6Address"]; ok {
		return fmt.Sprintf("[%v]%s", a, port(r, side))
	}
	return fmt.Sprintf("%v%s", r[side+"IPv4Address"], port(r, side))
}

func port(r map[string]any, side string) string {
	if p, ok := r[side+"TransportPort"]; ok {
		return fmt.Sprintf(":%v", p)
	}
	return ""
}

func summary(name string) (map[string]float64, error) {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var all map[string]any // with details that are no numbers
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	m := map[string]float64{}
	for k, v := range all {
		if f, ok := v.(float64); ok {
			m[k] = f
		}
	}
	return m, nil
}

func pick(m map[string]float64, keys ...string) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %v", strings.ReplaceAll(k, "_", " "), m[k])
	}
	return b.String()
}
