package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// outcome is one run of one receiver.
type outcome struct {
	cpu     float64 // seconds per million records
	sent    int
	written int
	octets  int64         // of the files
	late    time.Duration // of the sender, at its end
}

func (o outcome) lost() int { return o.sent - o.written }

// once starts a receiver, sends it records and counts what it wrote.
func (b *bench) once(r receiver, runs bool, rate float64, records int) (o outcome, err error) {
	dir, err := os.MkdirTemp(b.scratch, "ipfix-bench-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir)
	p, err := r.start(b, dir)
	if err != nil {
		return o, err
	}
	ended := false
	defer func() {
		if !ended {
			p.kill()
		}
	}()
	dial := func() (sender, error) { return dialPlain(p.to, runs) }
	if r.secure {
		dial = func() (sender, error) { return dialDTLS(p.to, runs, b.credentials) }
	}
	s, err := dial()
	if err != nil {
		return o, err
	}
	stop, swept := make(chan struct{}), make(chan error, 1)
	go func() { swept <- p.sweep(stop) }() // ended by stop
	err = onCPU(b.senderCPU, func() error {
		var err error
		o.sent, o.late, err = b.traffic.run(s, rate, records)
		return err
	})
	if err == nil {
		err = p.drained()
	}
	close(stop)
	if err := errors.Join(err, <-swept); err != nil {
		return o, fmt.Errorf("sender: %w", err)
	}
	_ = s.close()
	cpu, err := p.stop()
	ended = true
	if err != nil {
		return o, err
	}
	if o.written, err = p.count(); err != nil {
		return o, err
	}
	o.octets = p.octets
	o.cpu = cpu.Seconds() / float64(o.sent) * 1e6
	return o, nil
}

const (
	udpIPFIX   = "ours, udp to ipfix files"
	udpJSON    = "ours, udp to json files"
	dtlsIPFIX  = "ours, dtls+udp to ipfix files"
	dtlsJSON   = "ours, dtls+udp to json files"
	nfcapdOff  = "nfcapd, udp"
	nfcapdLZ4  = "nfcapd -y (LZ4), udp"
	writing    = "dd: writing alone, as many octets as the JSON lines"
	singleMode = "one datagram a call"
	runsMode   = "runs (UDP_SEGMENT)"
)

// ratioTarget is a bound on one receiver's time over another's.
type ratioTarget struct {
	what, over string
	mode       string
	limit      float64
}

var ratioTargets = []ratioTarget{
	{udpIPFIX, nfcapdOff, singleMode, 1.0},
	{udpIPFIX, nfcapdOff, runsMode, 1.0},
	{udpJSON, nfcapdOff, singleMode, 1.3},
	{udpJSON, nfcapdOff, runsMode, 1.3},
	{dtlsJSON, udpJSON, singleMode, 1.4},
	{dtlsJSON, udpJSON, runsMode, 1.4},
	{dtlsJSON, nfcapdOff, runsMode, 1.0},
}

// collectors compares the receivers, each in every round, in both manners of
// sending.
func (b *bench) collectors() error {
	all := []receiver{
		nfcapd(nfcapdOff), ours(udpIPFIX, "udp", "ipfix"), ours(udpJSON, "udp", "json"),
		nfcapd(nfcapdLZ4, "-y"), ours(dtlsIPFIX, "dtls+udp", "ipfix"), ours(dtlsJSON, "dtls+udp", "json"),
	}
	results := map[string]map[string][]outcome{singleMode: {}, runsMode: {}}
	for range b.rounds {
		for _, mode := range []string{singleMode, runsMode} {
			for _, r := range all {
				o, err := b.once(r, mode == runsMode, b.rate, b.records)
				if err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
				fmt.Fprintf(b.stderr, "%s, %s: %.3f s/M, %d of %d lost, sender late %v\n", mode, r.name, o.cpu, o.lost(), o.sent, o.late)
				results[mode][r.name] = append(results[mode][r.name], o)
			}
			// What it takes to write as many octets as the JSON lines have.
			o, err := b.writing(last(results[mode][udpJSON]))
			if err != nil {
				return err
			}
			results[mode][writing] = append(results[mode][writing], o)
		}
	}
	fmt.Fprintf(b.stdout, "T20 in messages of %d octets over loopback, %.0f records/s, %d rounds of %d records; receiver held to one processor.\n\n",
		messageSize, b.rate, b.rounds, b.records)
	for _, mode := range []string{singleMode, runsMode} {
		fmt.Fprintf(b.stdout, "| sender: %s | CPU-s/M records, median (least) | x nfcapd | octets written a record | lost |\n|---|---:|---:|---:|---:|\n", mode)
		for _, name := range append(names(all), writing) {
			os := results[mode][name]
			lost := 0
			for _, o := range os {
				lost += o.lost()
			}
			m, least := spread(os)
			o := last(os)
			fmt.Fprintf(b.stdout, "| %s | %.3f (%.3f) | %s | %.0f | %d |\n", name, m, least, ratio(os, results[mode][nfcapdOff]), float64(o.octets)/float64(o.written), lost)
		}
		fmt.Fprintln(b.stdout)
	}
	fmt.Fprint(b.stdout, "| target | sender | limit | measured | |\n|---|---|---:|---:|---|\n")
	for _, t := range ratioTargets {
		rs := ratios(results[t.mode][t.what], results[t.mode][t.over])
		if len(rs) == 0 {
			fmt.Fprintf(b.stdout, "| %s over %s | %s | %.2f | no run without loss | missed |\n", t.what, t.over, t.mode, t.limit)
			continue
		}
		b.verdict(fmt.Sprintf("| %s over %s | %s | %.2f | %.2f", t.what, t.over, t.mode, t.limit, median(rs)), median(rs) <= t.limit)
	}
	fmt.Fprintln(b.stdout)
	return nil
}

// writing measures how long dd takes for as many octets as o wrote, in files
// that are removed as early.
func (b *bench) writing(o outcome) (outcome, error) {
	const block, file = 128 << 10, 256 << 20
	dir, err := os.MkdirTemp(b.scratch, "ipfix-bench-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir)
	var cpu time.Duration
	for left := o.octets; left > 0; left -= file {
		name := filepath.Join(dir, "out")
		t, err := b.cpuOf([]string{"dd", "if=/dev/zero", "of=" + name, "bs=" + strconv.Itoa(block),
			"count=" + strconv.FormatInt(min(left, file)/block, 10), "status=none"})
		if err != nil {
			return o, err
		}
		cpu += t
		if err := os.Remove(name); err != nil {
			return o, err
		}
	}
	o.sent = o.written
	o.cpu = cpu.Seconds() / float64(o.sent) * 1e6
	return o, nil
}

func last(os []outcome) outcome { return os[len(os)-1] }

func names(rs []receiver) (ns []string) {
	for _, r := range rs {
		ns = append(ns, r.name)
	}
	return ns
}

// ratios are those of the rounds in which neither lost anything.
func ratios(a, over []outcome) []float64 {
	var rs []float64
	for i := range min(len(a), len(over)) {
		if a[i].lost() == 0 && over[i].lost() == 0 {
			rs = append(rs, a[i].cpu/over[i].cpu)
		}
	}
	return rs
}

func ratio(a, over []outcome) string {
	rs := ratios(a, over)
	if len(rs) == 0 {
		return "lossy"
	}
	return fmt.Sprintf("%.2f", median(rs))
}

func spread(os []outcome) (mid, least float64) {
	var cpus []float64
	for _, o := range os {
		cpus = append(cpus, o.cpu)
	}
	return median(cpus), slices.Min(cpus)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}

// loss sends as fast as a large site does, for ten seconds, to a receiver on
// one processor.
func (b *bench) loss() error {
	const rate, seconds = 1.5e6, 10
	fmt.Fprintf(b.stdout, "| %.1f M records/s for %d s, %s, one processor | sent | lost | CPU-s/M records | sender late |\n|---|---:|---:|---:|---:|\n", rate/1e6, seconds, singleMode)
	for _, r := range []receiver{ours(udpIPFIX, "udp", "ipfix"), nfcapd(nfcapdOff), ours(udpJSON, "udp", "json"), nfcapd(nfcapdLZ4, "-y")} {
		o, err := b.once(r, false, rate, rate*seconds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Fprintf(b.stdout, "| %s | %d | %d (%.3f %%) | %.3f | %v |\n", r.name, o.sent, o.lost(), 100*float64(o.lost())/float64(o.sent), o.cpu, o.late.Round(time.Millisecond))
	}
	fmt.Fprintln(b.stdout)
	return nil
}
