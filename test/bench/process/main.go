// Command process measures whole processes over loopback beside their peers:
// our collector on UDP and DTLS/UDP beside nfcapd, our exporter on a packet
// capture beside softflowd. What counts is the processor time, user and
// system, of the process from its start to its end, in the same run, with the
// same sender at the same pace; ratios are taken round by round. What a new
// session costs, a rotation each second, and all transports beside each other
// are measured in the same way. It prints Markdown.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"ipfixsuite/transport/credentials"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "process:", err)
		os.Exit(1)
	}
}

// bench is what the groups share.
type bench struct {
	stdout, stderr io.Writer

	collector, exporter string // our programs
	scratch             string // a folder in memory
	rounds, records     int
	rate                float64
	only                []string // schemes

	senderCPU, receiverCPU int
	traffic                *traffic
	pki                    pki
	credentials            *credentials.Credentials
	missed                 int
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("process", flag.ContinueOnError)
	flags.SetOutput(stderr)
	b := &bench{stdout: stdout, stderr: io.Discard}
	bin := flags.String("bin", "bin", "where our programs are")
	groups := flags.String("groups", "collectors,loss,capture,handshakes,rotation", "what to measure")
	verbose := flags.Bool("v", false, "tell of each run")
	flags.StringVar(&b.scratch, "scratch", "/dev/shm", "folder for output, in memory")
	flags.IntVar(&b.rounds, "rounds", 3, "rounds of each group but loss")
	flags.IntVar(&b.records, "records", 2_000_000, "records of a run")
	flags.Float64Var(&b.rate, "rate", 500_000, "records a second")
	only := flags.String("schemes", "", "the transports to compare; empty: all")
	strict := flags.Bool("strict", false, "fail if a target is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *verbose {
		b.stderr = stderr
	}
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	b.collector, b.exporter = filepath.Join(*bin, "collector"), filepath.Join(*bin, "exporter")
	b.receiverCPU = runtime.NumCPU() - 1
	if b.receiverCPU == 0 {
		return errors.New("needs two processors: one to send, one to receive")
	}
	// Debian has the daemons where only root looks.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	for _, name := range strings.Split(*groups, ",") {
		i := slices.IndexFunc(all, func(g group) bool { return g.name == name })
		if i < 0 {
			return fmt.Errorf("no group %q", name)
		}
		if missing := absent(all[i].tools); len(missing) > 0 {
			fmt.Fprintf(stdout, "%s left out: not installed: %s\n\n", name, strings.Join(missing, ", "))
			continue
		}
		if err := b.prepare(); err != nil {
			return err
		}
		if err := all[i].run(b); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", name, err), b.pki.remove())
		}
	}
	if err := b.pki.remove(); err != nil {
		return err
	}
	if b.missed > 0 && *strict {
		return fmt.Errorf("%d targets missed", b.missed)
	}
	return nil
}

type group struct {
	name  string
	tools []string
	run   func(*bench) error
}

var all = []group{
	{"collectors", []string{"nfcapd", "nfdump"}, (*bench).collectors},
	{"loss", []string{"nfcapd", "nfdump"}, (*bench).loss},
	{"capture", []string{"softflowd"}, (*bench).capture},
	{"handshakes", nil, (*bench).handshakes},
	{"rotation", nil, (*bench).rotation},
	{"transports", nil, (*bench).transports},
}

func absent(tools []string) (missing []string) {
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			missing = append(missing, t)
		}
	}
	return missing
}

// prepare makes what all groups need, once.
func (b *bench) prepare() (err error) {
	if b.traffic != nil {
		return nil
	}
	if b.pki, err = newPKI(b.collector, b.scratch); err != nil {
		return err
	}
	b.credentials, err = credentials.Load(credentials.Config{
		CertFile: b.pki.cert("exporter"), KeyFile: b.pki.key("exporter"), CAFile: b.pki.ca(),
	})
	if err != nil {
		return err
	}
	b.traffic, err = newTraffic()
	return err
}

// verdict ends a row of a table of targets.
func (b *bench) verdict(row string, met bool) {
	word := "met"
	if !met {
		word = "missed"
		b.missed++
	}
	fmt.Fprintf(b.stdout, "%s | %s |\n", row, word)
}

// pki is a folder of certificates made by `collector pki`.
type pki string

func newPKI(collector, scratch string) (pki, error) {
	dir, err := os.MkdirTemp(scratch, "ipfix-bench-pki-")
	if err != nil {
		return "", err
	}
	p := pki(dir)
	for _, args := range [][]string{
		{"init", dir}, {"issue", dir, "collector", "127.0.0.1"}, {"issue", dir, "exporter"},
	} {
		if out, err := exec.Command(collector, append([]string{"pki"}, args...)...).CombinedOutput(); err != nil {
			return p, fmt.Errorf("%s pki: %w\n%s", collector, err, out)
		}
	}
	return p, nil
}

func (p pki) ca() string              { return filepath.Join(string(p), "ca.pem") }
func (p pki) cert(name string) string { return filepath.Join(string(p), name+".pem") }
func (p pki) key(name string) string  { return filepath.Join(string(p), name+"-key.pem") }

func (p pki) remove() error {
	if p == "" {
		return nil
	}
	return os.RemoveAll(string(p))
}
