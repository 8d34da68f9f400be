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
	"sync"
	"syscall"
	"time"
)

const (
	// rotationTime is how long one run exports, idleTime one without records.
	rotationTime = 6 * time.Second
	idleTime     = 12 * time.Second
)

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

// rotators are an exporter whose session stays, and others.
var rotators = []struct {
	name string
	args []string
}{
	{"one session", []string{"--rotate", "0"}},
	{"a session a second", []string{"--rotate", "1s"}},
	{"a session a second, none resumed", []string{"--rotate", "1s", "--full-handshake-every", "1"}},
}

// rotation compares an exporter whose session stays with one that replaces it
// every second, without records, as fast as they go, and at a pace they have
// time for. All read the same IPFIX messages from a pipe.
func (b *bench) rotation() error {
	if err := b.idleRotation(); err != nil {
		return err
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
		runs := make([][]exported, len(rotators))
		for range b.rounds {
			for i, c := range rotators {
				e, err := b.export("", append(slices.Clone(pace.args), c.args...), rotationTime, b.traffic.pour)
				if err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				fmt.Fprintf(b.stderr, "%s, %s: %+v\n", pace.name, c.name, e)
				runs[i] = append(runs[i], e)
			}
		}
		fmt.Fprintf(b.stdout, "| %s | records/s | x | exporter, CPU-s/M | x | collector, CPU-s/M | x | rotations a run (resumed) | longest gap, us | lost |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n", pace.name)
		for i, c := range rotators {
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

// idleRotation measures a rotation by itself: handshake, priming, proof, drain
// and close, of exporters that have nothing else to do, at the same time.
func (b *bench) idleRotation() error {
	runs := make([][]exported, len(rotators))
	for range b.rounds {
		round := make([]exported, len(rotators))
		errs := make([]error, len(rotators))
		var wg sync.WaitGroup
		for i, c := range rotators {
			wg.Go(func() { round[i], errs[i] = b.export("", c.args, idleTime, b.traffic.trickle) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		for i, e := range round {
			fmt.Fprintf(b.stderr, "idle, %s: %+v\n", rotators[i].name, e)
			runs[i] = append(runs[i], e)
		}
	}
	fmt.Fprintf(b.stdout, "Exporters without records, %d rounds of %v.\n\n| idle | rotations a run (resumed) | exporter, ms of CPU a rotation | collector, ms of CPU a rotation |\n|---|---:|---:|---:|\n", b.rounds, idleTime)
	for i, c := range rotators[1:] {
		var exporter, server, rotations, resumed []float64
		for k, e := range runs[1+i] {
			ref := runs[0][k]
			exporter = append(exporter, (e.cpuExporter-ref.cpuExporter).Seconds()*1e3/e.rotations)
			server = append(server, (e.cpuServer-ref.cpuServer).Seconds()*1e3/e.rotations)
			rotations, resumed = append(rotations, e.rotations), append(resumed, e.resumed)
		}
		fmt.Fprintf(b.stdout, "| %s | %.0f (%.0f) | %.1f | %.1f |\n", c.name, median(rotations), median(resumed), median(exporter), median(server))
	}
	fmt.Fprintln(b.stdout)
	return nil
}

// export runs a collector at an endpoint (none: DTLS over UDP), and an exporter
// for a time on what source gives.
func (b *bench) export(to string, args []string, d time.Duration, source func(w *os.File, until time.Time) error) (e exported, err error) {
	dir, err := os.MkdirTemp(b.scratch, "ipfix-bench-")
	if err != nil {
		return e, err
	}
	defer os.RemoveAll(dir)
	r := ours("", "dtls+udp", "ipfix")
	if to != "" {
		r = oursAt(to, "ipfix")
	}
	p, err := r.start(b, dir)
	if err != nil {
		return e, err
	}
	if to == "" {
		to = "dtls+udp://" + p.to.String()
	}
	ended := false
	defer func() {
		if !ended {
			p.kill()
		}
	}()
	stop, swept := make(chan struct{}), make(chan error, 1)
	go func() { swept <- p.sweep(stop) }() // ended by stop
	flags := []string{"--to", to}
	if r.secure {
		flags = append(flags, "--cert", b.pki.cert("exporter"), "--key", b.pki.key("exporter"), "--ca", b.pki.ca())
	}
	sum, took, err := b.piped(dir, d, source, append(flags, args...))
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

// piped runs our exporter for a time on what source writes to a pipe, and
// returns its summary.
func (b *bench) piped(dir string, d time.Duration, source func(w *os.File, until time.Time) error, args []string) (sum map[string]float64, took time.Duration, err error) {
	pipe, summary := filepath.Join(dir, "pipe"), filepath.Join(dir, "exporter.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), d+time.Minute)
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
	err = source(in, begin.Add(d))
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
	var sequence uint32
	if _, err := w.Write(t.setup); err != nil {
		return err
	}
	var all []byte
	for time.Now().Before(until) {
		all = all[:0]
		for i, m := range t.messages {
			all = append(all, m...)
			binary.BigEndian.PutUint32(all[len(all)-len(m)+8:], sequence)
			sequence += uint32(t.counts[i])
		}
		if _, err := w.Write(all); err != nil {
			return err
		}
	}
	return nil
}

// trickle writes a template, and waits.
func (t *traffic) trickle(w *os.File, until time.Time) error {
	_, err := w.Write(t.setup)
	time.Sleep(time.Until(until))
	return err
}
