// Command demo is `make run`: it makes a PKI, starts a collector on DTLS/UDP,
// exports a real packet capture to it, shows flows and the summaries of both
// sides, and fails unless every record exported was received and written.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	capture = "testdata/mixed.pcap"
	dir     = "run"
	limit   = 60 * time.Second
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	err := run(ctx, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "make run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	pki, flows := filepath.Join(dir, "pki"), filepath.Join(dir, "flows")
	// Only what an earlier run of this program made is removed.
	for _, old := range []string{pki, flows} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	step(out, "a certificate authority and two certificates in ./%s", pki)
	for _, args := range [][]string{
		{"pki", "init", pki},
		{"pki", "issue", pki, "collector.example", "127.0.0.1", "::1", "localhost"},
		{"pki", "issue", pki, "exporter-1.example"},
	} {
		if err := command(ctx, "collector", args...).Run(); err != nil {
			return fmt.Errorf("collector %s: %w", strings.Join(args, " "), err)
		}
	}

	step(out, "a collector on DTLS/UDP that takes only certificates of that authority named *.example")
	c := command(ctx, "collector", "serve", "--listen", "dtls+udp://127.0.0.1:0", "--sink", "json:"+flows,
		"--cert", pem(pki, "collector.example"), "--key", pem(pki, "collector.example-key"), "--ca", pem(pki, "ca"),
		"--allow", "*.example", "--summary", filepath.Join(dir, "collector.json"), "--log-format", "json")
	collector, err := start(c)
	if err != nil {
		return err
	}
	defer collector.kill()
	addr, err := collector.listening()
	if err != nil {
		return err
	}

	step(out, "an exporter that meters %s (every packet of it was sent by a real program) and sends to %s", capture, addr)
	e := command(ctx, "exporter", "run", "--source", "pcap:"+capture, "--to", "dtls+udp://"+addr,
		"--cert", pem(pki, "exporter-1.example"), "--key", pem(pki, "exporter-1.example-key"), "--ca", pem(pki, "ca"),
		"--summary", filepath.Join(dir, "exporter.json"))
	if err := e.Run(); err != nil {
		return fmt.Errorf("exporter: %w", err)
	}
	if err := collector.stop(); err != nil {
		return err
	}
	return judge(out, flows)
}

func step(out io.Writer, format string, args ...any) {
	fmt.Fprintf(out, "-- "+format+"\n", args...)
}

func pem(dir, name string) string { return filepath.Join(dir, name+".pem") }

func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join("bin", program), args...)
	c.Stderr = os.Stderr
	return c
}

// process is the collector while it runs; its log is read for the address.
type process struct {
	cmd  *exec.Cmd
	log  io.ReadCloser
	done chan struct{}
	addr chan string
}

func start(c *exec.Cmd) (*process, error) {
	c.Stderr = nil
	log, err := c.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: c, log: log, done: make(chan struct{}), addr: make(chan string, 1)}
	go p.readLog()
	return p, nil
}

// readLog passes warnings on and finds the address; it ends with the process.
func (p *process) readLog() {
	defer close(p.done)
	for lines := bufio.NewScanner(p.log); lines.Scan(); {
		var l struct{ Level, Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Level == "WARN" || l.Level == "ERROR" {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
		if l.Msg == "listening" {
			p.addr <- l.Addr
		}
	}
}

func (p *process) listening() (string, error) {
	select {
	case a := <-p.addr:
		return a, nil
	case <-p.done:
		return "", errors.New("the collector ended before it listened")
	case <-time.After(10 * time.Second):
		return "", errors.New("the collector did not listen within 10 s")
	}
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	<-p.done
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	return nil
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }
