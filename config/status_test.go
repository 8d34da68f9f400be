package config

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// screen is what a terminal of one line a row shows.
func screen(b []byte) string {
	var rows []string
	row := ""
	for text := string(b); text != ""; {
		switch {
		case strings.HasPrefix(text, clearLine):
			row, text = "", text[len(clearLine):]
		case text[0] == '\n':
			rows, row, text = append(rows, row), "", text[1:]
		default:
			row, text = row+text[:1], text[1:]
		}
	}
	return strings.Join(append(rows, row), "\n")
}

func TestStatus(t *testing.T) {
	var b bytes.Buffer
	s := &Status{w: &b}
	for _, step := range []struct {
		show bool
		text string
		want string
	}{
		{false, "begin\n", "begin\n"},
		{true, "1 packet", "begin\n1 packet"},
		{true, "2 packets", "begin\n2 packets"},
		{false, "a line\n", "begin\na line\n2 packets"},
		{true, strings.Repeat("x", 100), "begin\na line\n" + strings.Repeat("x", 78) + "…"},
		{true, "", "begin\na line\n"},
		{false, "end\n", "begin\na line\nend\n"},
	} {
		if step.show {
			s.Show(step.text)
		} else if n, err := io.WriteString(s, step.text); n != len(step.text) || err != nil {
			t.Error(n, err)
		}
		if got := screen(b.Bytes()); got != step.want {
			t.Errorf("after %q: %q, want %q", step.text, got, step.want)
		}
	}
}

func TestNewStatus(t *testing.T) {
	t.Setenv("TERM", "xterm")
	f, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if NewStatus(f) != nil || NewStatus(&bytes.Buffer{}) != nil {
		t.Error("a file or a buffer is no terminal")
	}
}
