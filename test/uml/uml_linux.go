package uml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/test/harness"
)

const (
	// LimitReached is the exit status of a command that the time limit ended.
	LimitReached = 124
	// NoGuest is the exit status of a guest that did not come up, lacks a
	// module or ended without a result.
	NoGuest = 125

	// defaultLimit bounds a guest's life, boot included; on a busy machine it
	// is several times as slow.
	defaultLimit = 4 * time.Minute

	shared = "UML_SHARED"
)

// A Job says how the guest is to be. The zero value works.
type Job struct {
	// Modules are loaded before the command runs. What the kernel asks for by
	// itself (veth, queueing disciplines, packet actions) need not be named;
	// dccp_ipv4, dccp_ipv6, tun and sctp do.
	Modules []string
	// Limit bounds the guest's life, boot included. Zero: 4 min.
	Limit time.Duration
	// Memory is the guest's, as "512M". Empty: 512M.
	Memory string
	// Writable are folders the guest may write, besides the calling test's.
	Writable []string
	// Shared is one more, in which the guest finds files by Shared, and our
	// programs if Programs has built them there.
	Shared string
}

// Result is what came of a command.
type Result struct {
	Stdout, Stderr []byte
	Code           int
}

// Inside tells whether this process runs in a guest.
func Inside() bool { return os.Getenv("UML_RUN") == "1" }

// Shared is the path of a file in Job.Shared, to the guest.
func Shared(name string) string { return filepath.Join(os.Getenv(shared), name) }

// Need skips the test with the reason, or fails it where everything is
// required, if this machine cannot run a guest.
func Need(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"linux.uml", "modprobe", "ip", "setpriv", "unshare", "timeout"} {
		harness.Tool(t, tool)
	}
}

// Run runs a command in a guest and returns its end, whatever it was, except
// for NoGuest, which fails the test.
func (j Job) Run(t testing.TB, program string, args ...string) Result {
	t.Helper()
	Need(t)
	limit := cmp.Or(j.Limit, defaultLimit)
	line := []string{"-t", fmt.Sprintf("%.0f", limit.Seconds()), "-M", strings.Join(j.Modules, " ")}
	if j.Memory != "" {
		line = append(line, "-m", j.Memory)
	}
	env := os.Environ()
	if j.Shared != "" {
		env = append(env, shared+"="+j.Shared, "IPFIXSUITE_PROGRAMS="+j.Shared)
		line = append(line, "-w", j.Shared)
	}
	for _, dir := range j.Writable {
		line = append(line, "-w", dir)
	}
	line = append(append(line, "--", program), args...)
	c := exec.Command(filepath.Join(harness.Root(t), "test/uml/uml-run"), line...)
	// Should this process be killed, the guest goes too. The signal is sent
	// when the thread ends that started the child.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c.Env = env
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := onOneProcessor(c.Start)
	if err == nil {
		err = c.Wait()
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	r := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: c.ProcessState.ExitCode()}
	if r.Code == NoGuest {
		t.Fatalf("no guest:\n%s", r.Stderr)
	}
	return r
}

var guests atomic.Uint32

// onOneProcessor starts a guest, on the calling thread, so that all of it stays on
// one processor, the next guest's on another. Its kernel and the processes in it are
// processes here that wake each other all the time: over an idle processor that
// takes several times as long.
func onOneProcessor(start func() error) error {
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil || all.Count() == 0 {
		return start()
	}
	n := int(guests.Add(1)) % all.Count()
	for cpu := range len(all) * 64 {
		if !all.IsSet(cpu) {
			continue
		}
		if n--; n < 0 {
			var one unix.CPUSet
			one.Set(cpu)
			if unix.SchedSetaffinity(0, &one) == nil {
				defer func() { _ = unix.SchedSetaffinity(0, &all) }()
			}
			break
		}
	}
	return start()
}

// Programs compiles exporter and collector as the guest needs them, static and
// without the race detector, and puts them in a folder.
func Programs(t testing.TB, dir string) {
	t.Helper()
	compile(t, "build", "-o", dir, "ipfixsuite/cmd/exporter", "ipfixsuite/cmd/collector")
}

// BuildTest does so with a package's tests, and returns the program's path.
func BuildTest(t testing.TB, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	compile(t, "test", "-c", "-vet=off", "-o", out, pkg)
	return out
}

func compile(t testing.TB, args ...string) {
	t.Helper()
	c := exec.Command("go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}
