package uml

import (
	"bytes"
	"cmp"
	"os"
	"strings"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// Self runs the calling test once more, inside a guest, and shows the outcome
// of each of its subtests as a subtest of the same name:
//
//	func TestKernel(t *testing.T) {
//		if !uml.Inside() {
//			uml.Job{Modules: []string{"dccp_ipv4"}}.Self(t)
//			return
//		}
//		t.Run("echo", …)
//	}
//
// It returns all that the guest said.
func (j Job) Self(t *testing.T) Result {
	t.Helper()
	Need(t)
	// A test that hangs is to tell where, before the guest ends.
	limit := cmp.Or(j.Limit, defaultLimit)
	j.Limit = limit + 30*time.Second
	r := j.Run(t, BuildTest(t, "."), "-test.v", "-test.count=1", "-test.run=^"+t.Name()+"$", "-test.timeout="+limit.String())
	ends := outcomes(r.Stdout)
	for _, end := range ends {
		name, sub := strings.CutPrefix(end.name, t.Name()+"/")
		if !sub {
			continue
		}
		t.Run(name, func(t *testing.T) {
			switch end.verdict {
			case "SKIP":
				harness.Missing(t, "inside: "+end.said)
			case "FAIL":
				t.Error(end.said)
			default:
				t.Log(end.said)
			}
		})
	}
	if r.Code != 0 || len(ends) == 0 {
		t.Errorf("the guest's tests ended with %d\n%s\n%s", r.Code, r.Stdout, r.Stderr)
	}
	if log := os.Getenv("UML_LOG"); log != "" {
		_ = os.WriteFile(log, append(r.Stdout, r.Stderr...), 0o600)
	}
	return r
}

// outcome is how one test ended.
type outcome struct{ name, verdict, said string }

// outcomes reads what `-test.v` prints: a verdict follows what its test
// said, or, for a subtest, stands indented behind its parent's.
func outcomes(out []byte) []outcome {
	said := map[string]*strings.Builder{}
	var ends []outcome
	current := ""
	for line := range bytes.Lines(out) {
		text := strings.TrimRight(string(line), "\n")
		bare := strings.TrimLeft(text, " ")
		if verb, name, ok := strings.Cut(strings.TrimPrefix(bare, "=== "), " "); ok && strings.HasPrefix(bare, "=== ") {
			current = strings.TrimSpace(name)
			if verb == "RUN" {
				said[current] = &strings.Builder{}
			}
			continue
		}
		if rest, ok := strings.CutPrefix(bare, "--- "); ok {
			verdict, rest, _ := strings.Cut(rest, ": ")
			name, _, _ := strings.Cut(rest, " (")
			ends = append(ends, outcome{name: name, verdict: verdict})
			current = name
			continue
		}
		if text == "PASS" || text == "FAIL" {
			current = ""
		}
		if b := said[current]; b != nil {
			b.WriteString(text)
			b.WriteByte('\n')
		}
	}
	for i := range ends {
		if b := said[ends[i].name]; b != nil {
			ends[i].said = b.String()
		}
	}
	return ends
}
