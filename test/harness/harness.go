// Package harness starts the suite's own programs, and those of others, for
// the integration tests: real processes, real sockets, files in the test's
// temporary folder.
package harness

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Tool returns the path of a program. If it is missing the test is skipped
// with the reason, or fails where tools are required (CI).
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p
		}
	}
	Missing(t, name+" is not installed")
	return ""
}

// Missing skips the test for want of something this machine lacks, or fails
// it where everything is required.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("IPFIXSUITE_REQUIRE_TOOLS") == "1" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// Root returns the module's root folder.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

// given is a folder with our programs, for tests that run where none can be
// built.
func given() string { return os.Getenv("IPFIXSUITE_PROGRAMS") }

var build = sync.OnceValues(func() (string, error) {
	if dir := given(); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "ipfixsuite-bin-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir, "ipfixsuite/cmd/exporter", "ipfixsuite/cmd/collector").CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return dir, nil
})

// Main runs a package's tests and removes the programs built for them.
func Main(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil && given() == "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// Binary returns one of our programs, built once for the test binary.
func Binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, dir)
	}
	return filepath.Join(dir, name)
}

// Run runs a program to its end and returns its standard output; a failure
// fails the test with all it printed.
func Run(t testing.TB, program string, args ...string) []byte {
	t.Helper()
	out, stderr, err := Try(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, out, stderr)
	}
	return out
}

// lastWords is the time in which a program's output has to be read when it has
// ended.
const lastWords = 20 * time.Second

// Try runs a program to its end, for at most a minute.
func Try(t testing.TB, program string, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	return TryAs(t, nil, program, args...)
}

// TryAs is Try as another user; nil is this one.
func TryAs(t testing.TB, who *syscall.Credential, program string, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	c := exec.Command(program, args...)
	if who != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: who}
		c.Dir = "/" // where anybody may be
	}
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	c.WaitDelay = lastWords // a child of it may hold the pipes
	if err := c.Start(); err != nil {
		return nil, nil, err
	}
	timer := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	err = c.Wait()
	return o.Bytes(), e.Bytes(), err
}

// Process is a program that runs beside the test.
type Process struct {
	Cmd *exec.Cmd

	t      testing.TB
	name   string
	stdin  io.WriteCloser
	mu     sync.Mutex
	lines  []string
	grown  chan struct{} // closed and replaced with each line
	closed bool
	exited chan struct{}
	told   chan struct{} // closed when nothing more can come of what it printed
}

// Start starts a program; it is killed at the end of the test if it still
// runs, and what it printed is shown when the test failed.
func Start(t testing.TB, program string, args ...string) *Process {
	t.Helper()
	return StartTo(t, "", program, args...)
}

// StartTo is Start with the standard output in a file, not among the lines.
func StartTo(t testing.TB, stdout, program string, args ...string) *Process {
	t.Helper()
	p := &Process{
		Cmd: exec.Command(program, args...), t: t, name: filepath.Base(program),
		grown: make(chan struct{}), exited: make(chan struct{}), told: make(chan struct{}),
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Cmd.Stdout, p.Cmd.Stderr = w, w
	if stdout != "" {
		f, err := os.Create(stdout)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() // the program has its own by then
		p.Cmd.Stdout = f
	}
	if p.stdin, err = p.Cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	w.Close()
	var wg sync.WaitGroup
	wg.Go(func() { p.read(r); close(p.told) })
	wg.Go(func() { _ = p.Cmd.Wait(); close(p.exited) }) // Exit tells
	t.Cleanup(func() {
		_ = p.Cmd.Process.Kill()
		wg.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", p.name, strings.Join(p.Lines(), "\n"))
		}
	})
	return p
}

func (p *Process) read(r io.ReadCloser) {
	defer r.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.closed = true
	close(p.grown)
	p.mu.Unlock()
}

// Input writes to the program's standard input.
func (p *Process) Input(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, s); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// Write writes to the program's standard input; unlike Input it may fail, and
// be called from any goroutine.
func (p *Process) Write(b []byte) (int, error) { return p.stdin.Write(b) }

// EndInput closes the program's standard input.
func (p *Process) EndInput() { _ = p.stdin.Close() }

// Lines returns what the program printed so far.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// Wait returns the first line that holds text, waiting for it up to a minute.
func (p *Process) Wait(text string) string {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for seen := 0; ; {
		p.mu.Lock()
		lines, grown, closed := p.lines[seen:], p.grown, p.closed
		p.mu.Unlock()
		for _, l := range lines {
			if strings.Contains(l, text) {
				return l
			}
		}
		seen += len(lines)
		if closed {
			p.t.Fatalf("%s ended without printing %q", p.name, text)
		}
		select {
		case <-grown:
		case <-deadline:
			p.t.Fatalf("%s did not print %q in a minute", p.name, text)
		}
	}
}

// Stop sends SIGTERM and waits for the end; an exit code other than 0 fails
// the test.
func (p *Process) Stop() {
	p.t.Helper()
	_ = p.Cmd.Process.Signal(syscall.SIGTERM)
	p.End()
}

// End waits for the program to end by itself with exit code 0.
func (p *Process) End() {
	p.t.Helper()
	p.EndWithin(60 * time.Second)
}

// EndWithin is End with another patience.
func (p *Process) EndWithin(patience time.Duration) {
	p.t.Helper()
	if code := p.Exit(patience); code != 0 {
		p.t.Fatalf("%s: exit code %d", p.name, code)
	}
}

// Exit waits for the program's end, and for what it printed, and returns its
// exit code, -1 for a signal.
func (p *Process) Exit(patience time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("%s did not end in %v", p.name, patience)
	}
	select {
	case <-p.told:
	case <-time.After(lastWords): // a child of it may hold the pipe
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Kill ends the program as an accident would, and waits until it is gone.
func (p *Process) Kill() {
	p.t.Helper()
	_ = p.Cmd.Process.Kill()
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.t.Fatalf("%s cannot be killed", p.name)
	}
}

// Ports that FreePort gives lie below those that Linux chooses for sockets that
// ask for any: what is bound a while later, or again, nobody has taken meanwhile.
const firstPort, ports = 10_000, 20_000

var nextPort atomic.Uint32

func init() { nextPort.Store(rand.Uint32N(ports)) }

// FreePort returns a port of 127.0.0.1, for UDP as for TCP, that nobody uses just
// now, another one each time.
func FreePort(t testing.TB) int {
	t.Helper()
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		c.Close()
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no port is free")
	return 0
}
