package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func fill(r *Report) {
	h := r.Section("this host", false)
	h.OK("clock", "right")
	r.Section("udp://a:1", true).Warn("port", "use another", "a peer's \x1b[31mtext\nof two lines")
	b := r.Section("udp://b:1", true)
	b.Fail("name", "", "nobody")
	b.OK("close", "in order")
}

func TestReport_text(t *testing.T) {
	var out bytes.Buffer
	r := NewReport(&out, false)
	fill(r)
	if err := End(r, "collectors"); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	const want = `this host
  OK    clock: right
udp://a:1
  WARN  port: a peer's \x1b[31mtext; of two lines
        hint: use another
udp://b:1
  FAIL  name: nobody
  OK    close: in order
1 of 2 collectors are well
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestReport_json(t *testing.T) {
	var out bytes.Buffer
	r := NewReport(&out, true)
	fill(r)
	if well, err := r.Close("collectors"); well || err != nil {
		t.Error(well, err)
	}
	var got struct {
		Well, Of int
		What     string
		Sections []struct {
			Of       string
			Well     bool
			Findings []struct{ Step, Status, Saw, Hint string }
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Well != 1 || got.Of != 2 || got.What != "collectors" || len(got.Sections) != 3 || got.Sections[2].Well ||
		got.Sections[1].Findings[0].Status != "WARN" || got.Sections[1].Findings[0].Hint != "use another" {
		t.Errorf("%+v", got)
	}
}

// A failure of the host counts though every collector is well.
func TestReport_hostFails(t *testing.T) {
	var out bytes.Buffer
	r := NewReport(&out, false)
	r.Section("this host", false).Fail("clock", "set it", "wrong")
	r.Section("udp://a:1", true).OK("port", "open")
	if err := End(r, "collectors"); !errors.Is(err, ErrFailed) || !strings.HasSuffix(out.String(), "1 of 1 collectors are well\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe") }

func TestReport_unread(t *testing.T) {
	r := NewReport(broken{}, false)
	r.Section("udp://a:1", true)
	if err := End(r, "collectors"); err == nil || err.Error() != "pipe" {
		t.Error(err)
	}
}
