package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A receiver is a collector under measurement.
type receiver struct {
	name   string
	secure bool
	start  func(b *bench, dir string) (*running, error)
}

// running is one process of a receiver.
type running struct {
	cmd  *exec.Cmd
	to   netip.AddrPort
	dir  string
	logs bytes.Buffer
	// count tells, once the process has ended, how many records it wrote.
	count func() (int, error)
	// finished are files that are written no more; they are removed as they
	// come, since memory that was not in use before is slow in a virtual
	// machine, and would be counted to who writes most.
	finished string
	// tidy removes them and returns how many records have gone with them.
	tidy    func() (int, error)
	counted int
	octets  int64 // of files removed
}

// ours is our collector with one sink, at a port of the system's choice.
func ours(name, scheme, sink string) receiver {
	r := oursAt(scheme+"://127.0.0.1:0", sink)
	r.name = name
	return r
}

// oursAt is our collector at an endpoint.
func oursAt(endpoint, sink string) receiver {
	secure := strings.Contains(endpoint, "tls+")
	return receiver{secure: secure, start: func(b *bench, dir string) (*running, error) {
		args := []string{
			"serve", "--listen", endpoint, "--sink", sink + ":" + filepath.Join(dir, "out"),
			"--summary", filepath.Join(dir, "summary.json"), "--log-format", "json", "--rotate-files", "1s",
		}
		if secure {
			args = append(args, "--cert", b.pki.cert("collector"), "--key", b.pki.key("collector"), "--ca", b.pki.ca())
		}
		r := &running{cmd: exec.Command(b.collector, args...), dir: dir}
		r.count, r.tidy, r.finished = r.summary, r.clear, filepath.Join(dir, "out", "*."+map[string]string{"json": "jsonl", "ipfix": "ipfix"}[sink])
		stderr, err := r.cmd.StderrPipe()
		if err != nil {
			return nil, err
		}
		if err := r.launch(b); err != nil {
			return nil, err
		}
		s := bufio.NewScanner(stderr)
		for s.Scan() {
			r.logs.Write(append(s.Bytes(), '\n'))
			var line struct{ Msg, Addr string }
			if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "listening" {
				r.to, err = netip.ParseAddrPort(line.Addr)
				// A full pipe would stop it. Ends with the process.
				go func() { _, _ = io.Copy(io.Discard, stderr) }()
				return r, err
			}
		}
		_ = r.cmd.Wait()
		return nil, fmt.Errorf("collector ended:\n%s", r.logs.String())
	}}
}

// clear removes the finished files of our collector, which counts for itself.
func (r *running) clear() (int, error) {
	files, err := filepath.Glob(r.finished)
	for _, f := range files {
		err = errors.Join(err, r.remove(f))
	}
	return 0, err
}

func (r *running) remove(file string) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	r.octets += st.Size()
	return os.Remove(file)
}

// summary reads what our collector counted.
func (r *running) summary() (int, error) {
	if _, err := r.clear(); err != nil {
		return 0, err
	}
	raw, err := os.ReadFile(filepath.Join(r.dir, "summary.json"))
	if err != nil {
		return 0, err
	}
	var s struct {
		Received int `json:"records_received"`
		Written  int `json:"records_written"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, err
	}
	return min(s.Received, s.Written), nil
}

// nfcapd is nfdump's collector, with the receive buffer that ours has.
func nfcapd(name string, options ...string) receiver {
	return receiver{name: name, start: func(b *bench, dir string) (*running, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		args := append([]string{"-w", dir, "-b", "127.0.0.1", "-p", strconv.Itoa(port), "-B", strconv.Itoa(4 << 20), "-t", "2"}, options...)
		r := &running{cmd: exec.Command("nfcapd", args...), dir: dir, to: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))}
		r.count, r.tidy, r.finished = r.nfdump, r.nfdump, filepath.Join(dir, "nfcapd.2*")
		r.cmd.Stdout, r.cmd.Stderr = &r.logs, &r.logs
		if err := r.launch(b); err != nil {
			return nil, err
		}
		for range 500 {
			if q, err := queued(r.to); err == nil && q == 0 {
				return r, nil
			}
			time.Sleep(10 * time.Millisecond)
		}
		r.kill()
		return nil, fmt.Errorf("nfcapd does not listen:\n%s", r.logs.String())
	}}
}

// nfdump counts the records in nfcapd's files and removes them.
func (r *running) nfdump() (int, error) {
	files, err := filepath.Glob(r.finished)
	if err != nil {
		return 0, err
	}
	sum := r.counted
	for _, f := range files {
		out, err := exec.Command("nfdump", "-I", "-r", f).Output()
		if err != nil {
			return 0, fmt.Errorf("nfdump %s: %w", f, err)
		}
		for line := range strings.Lines(string(out)) {
			if n, ok := strings.CutPrefix(line, "Flows: "); ok {
				flows, err := strconv.Atoi(strings.TrimSpace(n))
				if err != nil {
					return 0, err
				}
				sum += flows
			}
		}
		if err := r.remove(f); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// sweep removes finished files until stop is closed.
func (r *running) sweep(stop <-chan struct{}) (err error) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-t.C:
		}
		if r.counted, err = r.tidy(); err != nil {
			return err
		}
	}
}

func (r *running) launch(b *bench) error { return onCPU(b.receiverCPU, r.cmd.Start) }

func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// drained waits until the process has read all that the kernel holds for it.
func (r *running) drained() error {
	for empty, i := 0, 0; i < 2000; i++ {
		q, err := queued(r.to)
		if err != nil {
			return err
		}
		if empty++; q > 0 {
			empty = 0
		}
		if empty == 5 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the receiver does not read")
}

// stop ends the process in order and returns its processor time, user and
// system, from start to end.
func (r *running) stop() (time.Duration, error) {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	if err := r.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", filepath.Base(r.cmd.Path), err, r.logs.String())
	}
	return r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime(), nil
}

func freePort() (int, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port, nil
}

// queued is how many octets wait in the socket bound to addr.
func queued(addr netip.AddrPort) (int64, error) {
	table, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0, err
	}
	a := addr.Addr().As4()
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], addr.Port())
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != local {
			continue
		}
		_, rx, _ := strings.Cut(f[4], ":")
		return strconv.ParseInt(rx, 16, 64)
	}
	return 0, fmt.Errorf("nobody is bound to %v", addr)
}
