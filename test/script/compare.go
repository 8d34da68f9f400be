package script

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await FILE REGEXP [N]")
	}
	n := 1
	if len(args) > 2 {
		n = atoi(ts, args[2])
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var b []byte
	if !until(func() bool {
		b, _ = read(ts, args[0]) // it may not be there yet
		return len(re.FindAll(b, -1)) >= n
	}) {
		ts.Fatalf("%s never matched %q:\n%s", args[0], args[1], b)
	}
}

// read is what all files that match a pattern hold, or stdout or stderr.
func read(ts *testscript.TestScript, pattern string) ([]byte, error) {
	if pattern == "stdout" || pattern == "stderr" {
		return []byte(ts.ReadFile(pattern)), nil
	}
	names, err := filepath.Glob(ts.MkAbs(pattern))
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lines N FILE…")
	}
	want, got := atoi(ts, args[0]), 0
	for _, f := range args[1:] {
		b, err := read(ts, f)
		ts.Check(err)
		got += bytes.Count(b, []byte("\n"))
	}
	if got != want {
		ts.Fatalf("%d lines, not %d", got, want)
	}
}

// value is a number in the last JSON object of a file.
func value(ts *testscript.TestScript, file, key string) float64 {
	s := ts.ReadFile(file)
	if i := strings.LastIndex(s, "\n{\n"); i >= 0 {
		s = s[i:]
	}
	var m map[string]any
	ts.Check(json.Unmarshal([]byte(s), &m))
	n, ok := m[key].(float64)
	if !ok {
		ts.Fatalf("%s has no number %s", file, key)
	}
	return n
}

func number(ts *testscript.TestScript, neg bool, args []string) {
	least := len(args) == 4 && args[2] == ">"
	if neg || len(args) != 3 && !least {
		ts.Fatalf("usage: number FILE KEY [>] N")
	}
	want, err := strconv.ParseFloat(args[len(args)-1], 64)
	ts.Check(err)
	if got := value(ts, args[0], args[1]); got != want && !(least && got >= want) {
		ts.Fatalf("%s is %v, not %v", args[1], got, strings.Join(args[2:], " "))
	}
}

func equal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: equal FILE KEY FILE KEY")
	}
	if a, b := value(ts, args[0], args[1]), value(ts, args[2], args[3]); a != b {
		ts.Fatalf("%s of %s is %v, %s of %s is %v", args[1], args[0], a, args[3], args[2], b)
	}
}
