package harness

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// PKI is a folder of certificates made by `collector pki`.
type PKI string

// NewPKI makes an authority and a certificate for each name, good for this host
// and for the end B of a Network.
func NewPKI(t testing.TB, names ...string) PKI {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	collector := Binary(t, "collector")
	Run(t, collector, "pki", "init", dir)
	for _, n := range names {
		Run(t, collector, "pki", "issue", dir, n, "localhost", "127.0.0.1", "::1", "192.0.2.2", "2001:db8::2")
	}
	return PKI(dir)
}

// CA is the authority's certificate file.
func (p PKI) CA() string { return filepath.Join(string(p), "ca.pem") }

// Cert is the certificate file of a name.
func (p PKI) Cert(name string) string { return filepath.Join(string(p), name+".pem") }

// Key is the private key's file of a name.
func (p PKI) Key(name string) string { return filepath.Join(string(p), name+"-key.pem") }

// Flags are the command line flags of one who has the certificate of a name.
func (p PKI) Flags(name string) []string {
	return []string{"--cert", p.Cert(name), "--key", p.Key(name), "--ca", p.CA()}
}

// Collector is our collector while it runs.
type Collector struct {
	*Process
	Addr    string
	summary string
}

// StartCollector starts `collector serve` with the arguments given, a JSON log
// and a summary, and waits until it listens.
func StartCollector(t testing.TB, args ...string) *Collector {
	t.Helper()
	c := &Collector{summary: filepath.Join(t.TempDir(), "collector.json")}
	args = append([]string{"serve", "--log-format", "json", "--summary", c.summary}, args...)
	c.Process = Start(t, Binary(t, "collector"), args...)
	c.Addr = ListenAddr(t, c.Process)
	return c
}

// ListenAddr waits for a collector, whose log must be JSON, to listen, and
// returns the address.
func ListenAddr(t testing.TB, p *Process) string {
	t.Helper()
	var l struct{ Addr string }
	if err := json.Unmarshal([]byte(p.Wait(`"msg":"listening"`)), &l); err != nil {
		t.Fatal(err)
	}
	return l.Addr
}

// SummaryFile is where the collector writes its counters at its end.
func (c *Collector) SummaryFile() string { return c.summary }

// Summary stops the collector and returns what it counted.
func (c *Collector) Summary() map[string]float64 {
	c.t.Helper()
	c.Stop()
	return ReadSummary(c.t, c.summary)
}

// Exporter is our exporter while it runs.
type Exporter struct {
	*Process
	summary string
	waits   sync.Mutex
	waited  []time.Duration // without a processor, by sample
}

// StartExporter starts `exporter run` with the arguments given, a JSON log and
// a summary.
func StartExporter(t testing.TB, args ...string) *Exporter {
	t.Helper()
	e := &Exporter{summary: filepath.Join(t.TempDir(), "exporter.json")}
	args = append([]string{"run", "--log-format", "json", "--summary", e.summary}, args...)
	e.Process = Start(t, Binary(t, "exporter"), args...)
	var wg sync.WaitGroup
	wg.Go(e.starvation) // ends with the program
	t.Cleanup(func() {
		_ = e.Cmd.Process.Kill()
		wg.Wait()
	})
	return e
}

// SummaryFile is where the exporter writes its counters at its end.
func (e *Exporter) SummaryFile() string { return e.summary }

// Summary waits for the exporter's end and returns what it counted.
func (e *Exporter) Summary(patience time.Duration) map[string]float64 {
	e.t.Helper()
	e.EndWithin(patience)
	return ReadSummary(e.t, e.SummaryFile())
}

// ReadSummary reads the numbers of a --summary file.
func ReadSummary(t testing.TB, file string) map[string]float64 {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	m := map[string]float64{}
	for k, v := range all {
		if f, ok := v.(float64); ok {
			m[k] = f
		}
	}
	return m
}

// Export runs `exporter run` to its end and returns its summary.
func Export(t testing.TB, args ...string) map[string]float64 {
	t.Helper()
	summary := filepath.Join(t.TempDir(), "exporter.json")
	Run(t, Binary(t, "exporter"), append([]string{"run", "--summary", summary}, args...)...)
	return ReadSummary(t, summary)
}

// JSONLines reads the records of a JSON sink's folder or file.
func JSONLines(t testing.TB, path string) []map[string]any {
	t.Helper()
	files := []string{path}
	if st, err := os.Stat(path); err != nil {
		t.Fatal(err)
	} else if st.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.jsonl")); err != nil {
			t.Fatal(err)
		}
	}
	var records []map[string]any
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		for dec.More() {
			var r map[string]any
			if err := dec.Decode(&r); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			records = append(records, r)
		}
	}
	return records
}
