package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// rotationTime is how long one run exports.
const rotationTime = 6 * time.Second

// exported is one run of our exporter to our collector.
type exported struct {
	records, lost                float64
	rotations, resumed, gap      float64 // gap: microseconds
	took, cpuExporter, cpuServer time.Duration
}

// speed is in records a second, cpu in seconds per million records.
func (e exported) speed() float64 { return e.records / e.took.Seconds() }
func (e exported) cpu(d time.Duration) float64 {
	return d.Seconds() / e.records * 1e6
}

// rotation compares an exporter whose session stays with one that replaces it
// every second, as fast as they go and at a pace they have time for. Both read
// the same IPFIX messages from a pipe.
func (b *bench) rotation() error {
	contenders := []struct {
		name string
		args []string
	}{
		{"one session", []string{"--rotate", "0"}},
		{"a session a second", []string{"--rotate", "1s"}},
		{"a session a second, none resumed", []string{"--rotate", "1s", "--full-handshake-every", "1"}},
	}
	paces := []struct {
		name string
		args []string
	}{
		{"as fast as it goes", nil},
		{"200000 records/s", []string{"--max-rate", "200000"}},
	}
	fmt.Fprintf(b.stdout, "T20 from a pipe through exporter and collector (dtls+udp to ipfix files), each on a processor of its own; %d rounds of %v.\n\n", b.rounds, rotationTime)
	for _, pace := range paces {
		runs := make([][]exported, len(contenders))
		for range b.rounds {
			for i, c := range contenders {
				e, err := b.export(append(slices.Clone(pace.args), c.args...))
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				fmt.Fprintf(b.stderr, "%s, %s: %+v\n", pace.name, c.name, e)
				runs[i] = append(runs[i], e)
			}
		}
		fmt.Fprintf(b.stdout, "| %s | records/s | x | exporter, CPU-s/M | x | collector, CPU-s/M | x | rotations a run (resumed) | longest gap, us | lost |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n", pace.name)
		for i, c := range contenders {
			var speed, exporter, server, speedX, exporterX, serverX, rotations, resumed, gap []float64
			lost := 0.0
			for k, e := range runs[i] {
				ref := runs[0][k]
				speed, speedX = append(speed, e.speed()), append(speedX, e.speed()/ref.speed())
				exporter, exporterX = append(exporter, e.cpu(e.cpuExporter)), append(exporterX, e.cpu(e.cpuExporter)/ref.cpu(ref.cpuExporter))
				server, serverX = append(server, e.cpu(e.cpuServer)), append(serverX, e.cpu(e.cpuServer)/ref.cpu(ref.cpuServer))
				rotations, resumed, gap = append(rotations, e.rotations), append(resumed, e.resumed), append(gap, e.gap)
				lost += e.lost
			}
			fmt.Fprintf(b.stdout, "| %s | %.0f | %.2f | %.3f | %.2f | %.3f | %.2f | %.0f (%.0f) | %.0f | %.0f |\n", c.name, median(speed), median(speedX),
				median(exporter), median(exporterX), median(server), median(serverX), median(rotations), median(resumed), slices.Max(gap), lost)
		}
		fmt.Fprintln(b.stdout)
	}
	return nil
}

// export runs a collector, and an exporter for rotationTime.
func (b *bench) export(args []string) (e exported, err error) {
	dir, err := os.MkdirTemp(b.scratch, "ipfix-bench-")
	if err != nil {
		return e, err
	}
	defer os.RemoveAll(dir)
	p, err := ours("", "dtls+udp", "ipfix").start(b, dir)
	if err != nil {
		return e, err
	}
	ended := false
	defer func() {
		if !ended {
			p.kill()
		}
	}()
	stop, swept := make(chan struct{}), make(chan error, 1)
	go func() { swept <- p.sweep(stop) }() // ended by stop
	sum, took, err := b.piped(dir, append([]string{"--to", "dtls+udp://" + p.to.String(), "--cert", b.pki.cert("exporter"),
		"--key", b.pki.key("exporter"), "--ca", b.pki.ca()}, args...))
	close(stop)
	if err := errors.Join(err, <-swept); err != nil {
		return e, err
	}
	cpu, err := p.stop()
	ended = true
	if err != nil {
		return e, err
	}
	written, err := p.count()
	if err != nil {
		return e, err
	}
	return exported{
		records: sum["records_sent"], lost: sum["records_exported"] - float64(written), rotations: sum["rotations"], resumed: sum["sessions_resumed"],
		gap: sum["max_swap_gap_us"], took: took, cpuExporter: time.Duration(sum["cpu_seconds"] * 1e9), cpuServer: cpu,
	}, nil
}

// piped runs our exporter on what a pipe brings for rotationTime and returns
// its summary.
func (b *bench) piped(dir string, args []string) (sum map[string]float64, took time.Duration, err error) {
	pipe, summary := filepath.Join(dir, "pipe"), filepath.Join(dir, "exporter.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), rotationTime+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.exporter, append([]string{"run", "--source", "ipfix:" + pipe, "--summary", summary, "--log-level", "warn"}, args...)...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := onCPU(b.senderCPU, cmd.Start); err != nil {
		return nil, 0, err
	}
	in, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		return nil, 0, err
	}
	begin := time.Now()
	err = b.traffic.pour(in, begin.Add(rotationTime))
	err = errors.Join(err, in.Close(), cmd.Wait())
	took = time.Since(begin)
	if err != nil {
		return nil, 0, fmt.Errorf("exporter: %w\n%s", err, said.String())
	}
	raw, err := os.ReadFile(summary)
	if err != nil {
		return nil, 0, err
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, 0, err
	}
	sum = map[string]float64{}
	for name, v := range all {
		if n, ok := v.(float64); ok {
			sum[name] = n
		}
	}
	return sum, took, nil
}

// pour writes the traffic as an IPFIX file without end, until a time.
func (t *traffic) pour(w *os.File, until time.Time) error {
	t.sequence = 0
	if _, err := w.Write(t.setup); err != nil {
		return err
	}
	var all []byte
	for time.Now().Before(until) {
		all = all[:0]
		for i, m := range t.messages {
			binary.BigEndian.PutUint32(m[8:], t.sequence)
			t.sequence += uint32(t.counts[i])
			all = append(all, m...)
		}
		if _, err := w.Write(all); err != nil {
			return err
		}
	}
	return nil
}
