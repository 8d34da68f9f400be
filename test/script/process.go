package script

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var signals = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP,
	"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
}

func (p *processes) start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARG…")
	}
	c := command(ts, args[1:])
	for _, o := range []struct {
		ending string
		set    func(*os.File)
	}{{".out", func(f *os.File) { c.Stdout = f }}, {".err", func(f *os.File) { c.Stderr = f }}} {
		f, err := os.Create(ts.MkAbs(args[0] + o.ending))
		ts.Check(err)
		defer f.Close()
		o.set(f)
	}
	ts.Check(c.Start())
	pr := &process{cmd: c, done: make(chan struct{})}
	go func() { // ends with the process
		_ = c.Wait()
		close(pr.done)
	}()
	p.put(ts.MkAbs(args[0]), pr)
}

// command is a program of the script's PATH in its directory and environment.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := args[0]
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if _, err := os.Stat(dir + "/" + path); err == nil && !strings.Contains(path, "/") {
			path = dir + "/" + path
		}
	}
	c := exec.Command(path, args[1:]...)
	c.Args[0] = args[0]
	c.Dir = ts.MkAbs(".")
	c.Env = environment(ts)
	return c
}

func environment(ts *testscript.TestScript) []string {
	env := []string{"HOME=" + ts.Getenv("WORK"), "PWD=" + ts.MkAbs(".")}
	for _, kv := range os.Environ() {
		if k, _, _ := strings.Cut(kv, "="); k != "PWD" && k != "HOME" && k != "PATH" && !strings.HasPrefix(k, "IPFIX_") {
			env = append(env, kv)
		}
	}
	env = append(env, "PATH="+ts.Getenv("PATH"))
	for _, k := range []string{"DATA", "PKI", "GORACE"} {
		env = append(env, k+"="+ts.Getenv(k))
	}
	return env
}

func (p *processes) listening(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: listening NAME [N]")
	}
	n := 1
	if len(args) > 1 {
		n = atoi(ts, args[1])
	}
	pr := p.get(ts, args[0])
	re := regexp.MustCompile(`msg"?[=:]"?listening"?.*?addr"?[=:]"?([][0-9a-f.:%a-z]+:[0-9]+)`)
	log := ts.MkAbs(args[0] + ".err")
	var found [][]string
	ok := until(func() bool {
		b, err := os.ReadFile(log)
		ts.Check(err)
		found = re.FindAllStringSubmatch(string(b), -1)
		return len(found) >= n || isClosed(pr.done)
	})
	if !ok || len(found) < n {
		ts.Fatalf("%s listens at %d endpoints, not %d:\n%s", args[0], len(found), n, ts.ReadFile(args[0]+".err"))
	}
	for i, f := range found {
		name := args[0]
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		ts.Setenv(name, f[1])
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *processes) signal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || signals[args[1]] == 0 {
		ts.Fatalf("usage: signal NAME TERM|INT|HUP|KILL|STOP|CONT")
	}
	ts.Check(p.get(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func (p *processes) finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: finish NAME STATUS")
	}
	pr := p.get(ts, args[0])
	select {
	case <-pr.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end:\n%s", args[0], ts.ReadFile(args[0]+".err"))
	}
	ts.Logf("[%s.err]\n%s", args[0], ts.ReadFile(args[0]+".err"))
	if got := exit(pr.cmd); got != args[1] {
		ts.Fatalf("%s ended with %s, not %s", args[0], got, args[1])
	}
}

// exit is the exit status, or the name of the signal that ended a process.
func exit(c *exec.Cmd) string {
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		for name, s := range signals {
			if s == ws.Signal() {
				return name
			}
		}
		return ws.Signal().String()
	}
	return strconv.Itoa(c.ProcessState.ExitCode())
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		got = ee.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != atoi(ts, args[0]) {
		ts.Fatalf("exit status %d, not %s", got, args[0])
	}
}

// shell joins its arguments to a command line of bash.
func shell(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("bash", "-c", strings.Join(args, " "))
	if neg == (err == nil) {
		ts.Fatalf("bash: %v", err)
	}
}

func atoi(ts *testscript.TestScript, s string) int {
	n, err := strconv.Atoi(s)
	ts.Check(err)
	return n
}
