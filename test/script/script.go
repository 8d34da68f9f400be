// Package script runs the programs' testscript files. Beside testscript's own
// commands a script has
//
//	start NAME PROGRAM ARG…    run in the background, output to NAME.out and NAME.err
//	await FILE REGEXP [N]      until so many lines of FILE match (default 1)
//	listening NAME [N]         until collector NAME listens at N endpoints; sets
//	                           NAME, and NAME2, NAME3 …, to their addresses
//	signal NAME SIGNAL         TERM, INT, HUP, KILL, STOP or CONT
//	finish NAME STATUS         wait for the end and compare the exit status; a
//	                           program ended by a signal has its name, as TERM
//	status N PROGRAM ARG…      run, compare the exit status
//	number FILE KEY N          compare a number in a JSON object; > N: at least
//	equal FILE KEY FILE KEY    compare two numbers
//	lines N FILE…              count the lines of files, * stands for any name
//	shell REST                 run by bash
//
// and the variables DATA, the folder of the captures, and PKI, one with an
// authority and the certificates of collector.example (and this host's
// addresses), exporter.example and, expired, expired.example. Those of
// testdata/transports run once for each of the secure transports that are about
// as different as they can be, with its scheme in TRANSPORT.
package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ipfixsuite/pki"
)

// Main runs a program's tests with the program itself as a command of the
// scripts: with the race detector, where the test has it. The other one is
// built.
func Main(m *testing.M, name string, main func()) {
	testscript.Main(m, map[string]func(){name: main})
}

// transports are what the scripts of testdata/transports run with.
var transports = []string{"dtls+udp", "tls+tcp", "mta+tls+tcp"}

// Run runs the scripts of testdata with the programs named built.
func Run(t *testing.T, programs ...string) {
	bin := t.TempDir()
	for _, p := range programs {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "ipfixsuite/cmd/"+p).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	data, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	certs := makePKI(t)
	var running processes
	of := func(folder, transport string) testscript.Params {
		return params(&running, folder, map[string]string{"DATA": data, "PKI": certs, "TRANSPORT": transport}, bin)
	}
	testscript.Run(t, of("script", ""))
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, of("transports", transport))
		})
	}
}

// params are for the scripts of a folder.
func params(running *processes, folder string, env map[string]string, bin string) testscript.Params {
	return testscript.Params{
		Dir:                 filepath.Join("testdata", folder),
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			for name, value := range env {
				e.Setenv(name, value)
			}
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each program's end takes a second
			e.Defer(func() { running.end(e.WorkDir) })
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":     running.start,
			"await":     await,
			"listening": running.listening,
			"signal":    running.signal,
			"finish":    running.finish,
			"status":    status,
			"number":    number,
			"equal":     equal,
			"lines":     lines,
			"shell":     shell,
		},
	}
}

// condition knows root: the test is run by it.
func condition(cond string) (bool, error) {
	if cond == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, os.ErrInvalid
}

func makePKI(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	past := pki.Options{Now: time.Now().Add(-48 * time.Hour), Validity: time.Hour}
	for _, err := range []error{
		pki.Issue(dir, "collector.example", []string{"127.0.0.1", "::1", "localhost"}, pki.Options{}),
		pki.Issue(dir, "exporter.example", nil, pki.Options{}),
		pki.Issue(dir, "expired.example", nil, past),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// patience bounds every wait; a machine under load is slow.
const patience = time.Minute

// until polls, since it watches other processes.
func until(done func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// processes are those in the background, by script and name.
type processes struct {
	mu sync.Mutex
	m  map[string]*process
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *processes) get(ts *testscript.TestScript, name string) *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.m[ts.MkAbs(name)]
	if c == nil {
		ts.Fatalf("%s was not started", name)
	}
	return c
}

func (p *processes) put(key string, c *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[string]*process)
	}
	p.m[key] = c
}

// end kills what a script left.
func (p *processes) end(dir string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, c := range p.m {
		if strings.HasPrefix(key, dir+string(filepath.Separator)) {
			_ = c.cmd.Process.Kill() // it may have ended
			<-c.done
			delete(p.m, key)
		}
	}
}
