package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"ipfixsuite/test/workload"
)

const (
	packets = 1_000_000
	biflows = 100_000
	// captureLimit is the target: a third of softflowd's time.
	captureLimit = 1.0 / 3
)

// capture compares our exporter with softflowd from a packet capture to IPFIX
// messages on the loopback, where somebody takes them.
func (b *bench) capture() error {
	dir, err := os.MkdirTemp(b.scratch, "ipfix-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "biflows.pcap")
	if err := workload.Capture(file, packets, biflows); err != nil {
		return err
	}
	d, err := newDrain()
	if err != nil {
		return err
	}
	defer d.close()
	contenders := []struct {
		name string
		args []string
	}{
		{"softflowd -r", []string{"softflowd", "-d", "-r", file, "-n", d.addr(), "-v", "10", "-m", "400000", "-p", filepath.Join(dir, "pid"), "-c", "none"}},
		{"exporter run", []string{b.exporter, "run", "--source", "pcap:" + file, "--to", "udp://" + d.addr(), "--log-level", "error"}},
		{"exporter run --biflow", []string{b.exporter, "run", "--source", "pcap:" + file, "--to", "udp://" + d.addr(), "--log-level", "error", "--biflow"}},
	}
	times := make([][]float64, len(contenders))
	octets := make([]int64, len(contenders))
	for range b.rounds {
		for i, c := range contenders {
			before := d.received()
			cpu, err := b.cpuOf(c.args)
			if err != nil {
				return err
			}
			times[i] = append(times[i], cpu.Seconds()*1e6/packets)
			octets[i] = d.received() - before
			fmt.Fprintf(b.stderr, "%s: %v, %d octets\n", c.name, cpu, octets[i])
		}
	}
	fmt.Fprintf(b.stdout, "Capture of %d packets, %d biflows, to IPFIX over UDP on the loopback, %d rounds.\n\n", packets, biflows, b.rounds)
	fmt.Fprint(b.stdout, "| | CPU-s/M packets, median | x softflowd | MB received | target | |\n|---|---:|---:|---:|---:|---|\n")
	for i, c := range contenders {
		rs := make([]float64, len(times[i]))
		for k := range rs {
			rs[k] = times[i][k] / times[0][k]
		}
		row := fmt.Sprintf("| %s | %.3f | %.2f | %.1f", c.name, median(times[i]), median(rs), float64(octets[i])/1e6)
		if i == 0 {
			fmt.Fprintln(b.stdout, row+" | | |")
			continue
		}
		b.verdict(fmt.Sprintf("%s | %.2f", row, captureLimit), median(rs) <= captureLimit)
	}
	fmt.Fprintln(b.stdout)
	return nil
}

// cpuOf runs a program on one processor to its end; softflowd -r may not find
// it by itself.
func (b *bench) cpuOf(args []string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out []byte
	err := onCPU(b.receiverCPU, func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", filepath.Base(args[0]), err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// drain takes whatever is sent to it.
type drain struct {
	conn   *net.UDPConn
	wg     sync.WaitGroup
	mu     sync.Mutex
	octets int64
}

func newDrain() (*drain, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(4 << 20)
	d := &drain{conn: c}
	d.wg.Go(func() { // ended by close
		buf := make([]byte, 1<<16)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			d.mu.Lock()
			d.octets += int64(n)
			d.mu.Unlock()
		}
	})
	return d, nil
}

func (d *drain) addr() string { return d.conn.LocalAddr().String() }

// received is what came so far; what is under way has some time.
func (d *drain) received() int64 {
	time.Sleep(100 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.octets
}

func (d *drain) close() {
	_ = d.conn.Close()
	d.wg.Wait()
}
