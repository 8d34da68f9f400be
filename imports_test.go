package ipfixsuite

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// may says what each package of ours may import of ours, tests aside. It is
// the table of ARCHITECTURE.md; a new package has to be entered here.
var may = map[string][]string{
	"ie":                       {},
	"ipfix":                    {"ie"},
	"templates":                {"ipfix", "ie"},
	"heartbeat":                {},
	"transport":                {},
	"transport/credentials":    {},
	"transport/dtls/record":    {},
	"transport/dtls":           {"transport", "transport/credentials", "transport/dtls/record", "heartbeat"},
	"transport/udp":            {"transport"},
	"transport/tlsmux":         {"transport", "transport/tcp", "transport/tlsmux/core", "transport/tlsmux/wire"},
	"transport/tlsmux/wire":    {},
	"transport/tlsmux/dtlsmux": {},
	"transport/transporttest":  {"transport", "transport/credentials", "pki"},
	"transport/tlsmux/core":    {"transport/tlsmux/wire"},
	"transport/tcp":            {"transport", "transport/credentials"},
	"transport/sctp":           {"transport", "transport/dtls", "transport/dtls/record", "heartbeat"},
	"transport/sctp/kernel":    {"transport", "transport/sctp"},
	"transport/sctp/wire":      {},
	"transport/sctp/shim":      {"transport/sctp/wire"},
	"transport/sctp/userspace": {"transport", "transport/udp", "transport/sctp", "transport/sctp/wire", "transport/sctp/shim"},
	"transport/dccp/sim":       {},
	"transport/dccp/wire":      {},
	"transport/dccp/ccid":      {"transport/dccp/wire"},
	"transport/dccp/core":      {"transport/dccp/wire", "transport/dccp/ccid"},
	"transport/dccp/carrier":   {"transport", "transport/udp", "transport/dccp/wire"},
	"transport/dccp/kernel":    {"transport", "transport/dccp/wire"},
	"transport/dccp":           {"transport", "transport/dccp/wire", "transport/dccp/ccid", "transport/dccp/core", "transport/dccp/ccid2", "transport/dccp/ccid3", "transport/dccp/carrier"},
	"transport/dccp/ccid2":     {"transport/dccp/wire", "transport/dccp/ccid"},
	"transport/dccp/ccid3":     {"transport/dccp/wire", "transport/dccp/ccid"},
	"transport/dccp/ccidtest":  {"transport/dccp/wire", "transport/dccp/ccid", "transport/dccp/sim"},
	"endpoint":                 {"transport", "transport/credentials", "transport/udp", "transport/dtls", "transport/tcp", "transport/tlsmux", "transport/sctp", "transport/sctp/kernel", "transport/sctp/userspace", "transport/dccp", "transport/dccp/carrier", "transport/dccp/kernel"},
	"doctor":                   {"endpoint", "transport", "transport/credentials", "transport/dccp", "transport/dccp/carrier", "transport/dccp/kernel"},
	"pki":                      {},
	"capture":                  {},
	"metering":                 {"ie", "ipfix"},
	"rotation":                 {},
	"record":                   {"ie", "ipfix"},
	"ipfixfile":                {},
	"sink/jsonl":               {"record"},
	"sink/ipfix":               {"record", "ie", "ipfix", "ipfixfile"},
	"netflow":                  {"ie", "ipfix"},
	"decode":                   {"ie", "ipfix", "record", "netflow", "ipfixfile", "capture", "collect", "templates", "metering"},
	"collect":                  {"ie", "ipfix", "record", "templates", "transport"},
	"export":                   {"ie", "ipfix", "templates", "transport", "export/spool", "rotation", "heartbeat"},
	"export/fanout":            {"ie", "ipfix", "export"},
	"export/spool":             {"ie", "ipfix", "ipfixfile"},
	"export/source":            {"ie", "ipfix", "export", "capture", "metering", "record", "ipfixfile"},
	"config":                   {"ie", "transport/credentials"},
	"state":                    {},
}

// pure packages are driven step by step: no socket, no goroutine, no clock.
var pure = []string{"ie", "ipfix", "templates", "heartbeat", "metering", "transport/dtls/record", "rotation", "transport/tlsmux/wire", "transport/tlsmux/core",
	"transport/sctp/wire", "transport/sctp/shim", "transport/dccp/sim", "transport/dccp/wire", "transport/dccp/ccid", "transport/dccp/core", "transport/dccp/ccid2", "transport/dccp/ccid3",
	"transport/dccp/ccidtest"}

func TestImportDirections(t *testing.T) {
	const module = "ipfixsuite/"
	impure := []string{"net", "net/http", "os/exec", "log", "log/slog", "sync/atomic", "context"}
	dec := json.NewDecoder(strings.NewReader(goList(t)))
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		if p.ImportPath == "ipfixsuite" || strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "test/") {
			continue
		}
		allowed, known := may[name]
		if !known {
			t.Errorf("package %s is not in the table of import directions", name)
			continue
		}
		for _, dep := range p.Imports {
			if ours, ok := strings.CutPrefix(dep, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s may not import %s", name, ours)
			}
			if !slices.Contains(pure, name) {
				continue
			}
			first, _, _ := strings.Cut(dep, "/")
			if slices.Contains(impure, dep) && name != "templates" || strings.Contains(first, ".") && !strings.HasPrefix(dep, "golang.org/x/crypto") {
				t.Errorf("%s is a pure core and imports %s", name, dep)
			}
		}
	}
}

func goList(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
