// Command samples compares what package decode makes of a directory of sample
// messages with what tshark makes of them: record by record, field by field.
//
//	go run ./test/samples [-v] DIR
//
// DIR holds .dat files, each the payload of one UDP datagram, RFC 5655 files
// (.ipfix) and captures (.pcap), in whatever folders. Payloads of one device
// belong together: what stands before _tpl, _opttpl, _data, _tpldata in the
// file name says which; templates go first. Each group is wrapped into a
// capture, which both sides decode. Files are also given to decode as they
// are, which must make no difference.
package main

import (
	"cmp"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ipfixsuite/ipfixfile"
	"ipfixsuite/netflow"
)

func main() {
	verbose := flag.Bool("v", false, "say every difference, not the first ten of a group")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: samples [-v] DIR")
		os.Exit(2)
	}
	ok, err := run(flag.Arg(0), *verbose, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "samples: %v\n", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// A group is what is decoded with shared templates.
type group struct {
	name     string
	files    []string
	payloads [][]byte // of UDP; empty for captures
	capture  string
}

func run(dir string, verbose bool, out io.Writer) (bool, error) {
	groups, err := collectGroups(dir)
	if err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp("", "samples")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	limit := 10
	if verbose {
		limit = 1 << 30
	}
	good := true
	var records, fields, texts int
	for i := 0; i < len(groups); i++ {
		g := groups[i]
		if g.capture == "" {
			g.capture = filepath.Join(tmp, "x.pcap")
			if err := writeCapture(g.capture, g.payloads); err != nil {
				return false, err
			}
		}
		c, err := compare(g)
		if err != nil {
			return false, fmt.Errorf("%s: %w", g.name, err)
		}
		if again := g.disguised(); c.gaveUp && again != nil {
			groups = append(groups, again)
		}
		verdict := "equal"
		if len(c.differences) > 0 {
			verdict, good = "DIFFERENT", false
		}
		fmt.Fprintf(out, "%-9s %-50s %d files, %d records, %d fields (%d also as text)\n", verdict, g.name, len(g.files), c.records, c.fields, c.texts)
		for _, d := range c.differences[:min(limit, len(c.differences))] {
			fmt.Fprintf(out, "    %s\n", d)
		}
		if more := len(c.differences) - limit; more > 0 {
			fmt.Fprintf(out, "    and %d more\n", more)
		}
		for _, n := range slices.Sorted(maps.Keys(c.notes)) {
			fmt.Fprintf(out, "    note: %s (%d times)\n", n, c.notes[n])
		}
		records, fields, texts = records+c.records, fields+c.fields, texts+c.texts
	}
	fmt.Fprintf(out, "%d groups, %d records, %d fields, %d of them compared as text\n", len(groups), records, fields, texts)
	return good, nil
}

var device = regexp.MustCompile(`^(.*?)_(tpldata|tpl|opttpl|data)[0-9]*(_.*)?\.dat$`)

func collectGroups(dir string) ([]*group, error) {
	byName := map[string]*group{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch filepath.Ext(path) {
		case ".dat":
			if m := device.FindStringSubmatch(name); m != nil {
				name = m[1]
			}
			if strings.HasSuffix(name, "_dpi.dat") {
				name = strings.TrimSuffix(name, ".dat")
			}
		case ".ipfix", ".pcap", ".pcapng":
		default:
			return nil
		}
		g := byName[name]
		if g == nil {
			g = &group{name: name}
			byName[name] = g
		}
		g.files = append(g.files, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var groups []*group
	for _, g := range byName {
		slices.SortFunc(g.files, func(a, b string) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b))
		})
		for _, f := range g.files {
			if err := g.add(f); err != nil {
				return nil, err
			}
		}
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return strings.Compare(a.name, b.name) })
	return groups, nil
}

// disguised replaces what tshark cannot read by an element that it can, for
// another comparison: ipv4RouterSc in 2 octets, as some devices send it, makes
// it give up the whole datagram. nil: there is nothing like that.
func (g *group) disguised() *group {
	d := &group{name: g.name + ", element 43 as 10"}
	found := false
	for _, p := range g.payloads {
		q := strings.ReplaceAll(string(p), "\x00\x2b\x00\x02", "\x00\x0a\x00\x02")
		found = found || q != string(p)
		d.payloads = append(d.payloads, []byte(q))
	}
	if !found {
		return nil
	}
	return d
}

// rank puts templates before data.
func rank(name string) int {
	if strings.Contains(filepath.Base(name), "_data") {
		return 1
	}
	return 0
}

func (g *group) add(file string) error {
	switch filepath.Ext(file) {
	case ".pcap", ".pcapng":
		g.capture = file
		return nil
	case ".ipfix":
		r, err := ipfixfile.Open(file)
		if err != nil {
			return err
		}
		defer r.Close()
		for {
			msg, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			g.payloads = append(g.payloads, slices.Clone(msg))
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// Several datagrams of version 5 may stand in one file.
	for {
		n := netflow.LengthV5(b)
		if n == 0 || netflow.LengthV5(b[n:]) == 0 {
			break
		}
		g.payloads, b = append(g.payloads, b[:n]), b[n:]
	}
	g.payloads = append(g.payloads, b)
	return nil
}

// headers is what stands before the payload in writeCapture's packets.
const headers = 20 + 8

// writeCapture writes a capture of UDP datagrams in IPv4, without a link layer.
func writeCapture(name string, payloads [][]byte) error {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 1<<18)
	b = binary.LittleEndian.AppendUint32(b, 101)
	for i, p := range payloads {
		n := uint32(headers + len(p))
		b = binary.LittleEndian.AppendUint32(b, uint32(1_700_000_000+i))
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, n)
		b = binary.LittleEndian.AppendUint32(b, n)
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
		port := uint16(4739)
		if netflow.Version(p) != 0 {
			port = 2055
		}
		b = binary.BigEndian.AppendUint16(b, port)
		b = binary.BigEndian.AppendUint16(b, port)
		b = binary.BigEndian.AppendUint16(b, uint16(n-20))
		b = append(b, 0, 0)
		b = append(b, p...)
	}
	return os.WriteFile(name, b, 0o600)
}
