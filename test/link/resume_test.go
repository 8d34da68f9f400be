package link

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/test/harness"
)

// resuming is a collector that listens on DTLS over UDP and over DCCP, and an
// exporter that reads its configuration from a file.
type resuming struct {
	t     *testing.T
	pki   harness.PKI
	flows string
	c     *harness.Collector
	udp   string // DTLS over UDP
	dccp  string // DTLS over DCCP over UDP; without a host
	file  string
	e     *harness.Exporter
	feed  *harness.Feeder
}

func startResuming(t *testing.T) *resuming {
	t.Helper()
	r := &resuming{t: t, pki: harness.NewPKI(t, "collector", "exporter", "exporter-2"), flows: filepath.Join(t.TempDir(), "flows")}
	udp, dccp, outer := harness.FreePort(t), harness.FreePort(t), harness.FreePort(t)
	r.udp = fmt.Sprintf("dtls+udp://127.0.0.1:%d", udp)
	r.dccp = fmt.Sprintf("%d?udp=%d", dccp, outer)
	r.c = harness.StartCollector(t, append([]string{"--listen", r.udp, "--listen", r.overDCCP("127.0.0.1"), "--sink", "json:" + r.flows}, r.pki.Flags("collector")...)...)
	return r
}

func (r *resuming) overDCCP(host string) string { return "dtls+dccp+udp://" + host + ":" + r.dccp }

// configure writes the exporter's configuration.
func (r *resuming) configure(name string, to ...string) {
	r.t.Helper()
	r.file = filepath.Join(string(r.pki), "exporter.toml")
	text := fmt.Sprintf("source = \"json:-\"\nto = [\"%s\"]\ncert = %q\nkey = %q\nca = %q\n", strings.Join(to, `", "`), r.pki.Cert(name), r.pki.Key(name), r.pki.CA())
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *resuming) export() {
	r.t.Helper()
	r.e = harness.StartExporter(r.t, "--config", r.file)
	r.feed = &harness.Feeder{Rate: 1000}
	r.feed.Begin(r.e)
	r.e.Wait(`"msg":"session opened"`)
	r.flow()
}

// flow waits until more data went.
func (r *resuming) flow() {
	r.t.Helper()
	given := r.feed.Given()
	harness.Until(r.t, "data flows", func() bool { return r.feed.Given() > given+500 })
}

// end checks that the first session over DCCP was resumed or was not. There may
// be others: a machine that stands still makes the exporter doubt a session.
func (r *resuming) end(resumed bool) {
	r.t.Helper()
	const over = `"scheme":"dtls+dccp+udp"`
	var opened struct{ Resumed bool }
	if err := json.Unmarshal([]byte(r.c.Wait(over)), &opened); err != nil {
		r.t.Fatal(err)
	}
	if opened.Resumed != resumed {
		r.t.Errorf("resumed: %v, want %v", opened.Resumed, resumed)
	}
	r.flow()
	n := r.feed.End()
	r.e.EndInput()
	sum, got := r.e.Summary(time.Minute), r.c.Summary()
	if sum["sessions_opened"] < 2 || resumed && sum["sessions_resumed"] == 0 || got["sessions_resumed"] < sum["sessions_resumed"] {
		r.t.Errorf("%v sessions, %v resumed; at the collector %v and %v", sum["sessions_opened"], sum["sessions_resumed"], got["sessions_opened"], got["sessions_resumed"])
	}
	written := harness.Written(r.t, n, r.flows)
	if written.Missing() != 0 || float64(written.Again()) > sum["records_replayed"] || sum["records_dropped"] != 0 || got["data_before_template"] != 0 {
		r.t.Errorf("%d of %d records are missing, %d came twice: %v, %v", written.Missing(), n, written.Again(), sum, got)
	}
}

// RFC 5238, Section 3.4: a session made over DTLS/UDP goes on over DTLS/DCCP,
// when the one does not get through any more, or when the configuration says
// so. It does not with a collector under another name, under other credentials,
// or when the collector itself has become another.
func TestResumption_AnotherTransport_RFC5238_3_4(t *testing.T) {
	t.Run("failover", func(t *testing.T) {
		t.Parallel()
		r := startResuming(t)
		relay := between(t, strings.TrimPrefix(r.udp, "dtls+udp://"), Config{})
		r.configure("exporter", "dtls+udp://"+relay.Addr(), r.overDCCP("127.0.0.1"))
		r.export()
		relay.Pause(true)
		r.end(true)
	})
	for _, row := range []struct {
		name, host, cert string
		before           func(r *resuming)
		resumed          bool
	}{
		{name: "reload", host: "127.0.0.1", cert: "exporter", resumed: true},
		{name: "reload, another host", host: "localhost", cert: "exporter"},
		{name: "reload, other credentials", host: "127.0.0.1", cert: "exporter-2"},
		{name: "reload, the collector's certificate is another", host: "127.0.0.1", cert: "exporter", before: func(r *resuming) {
			if err := pki.Issue(string(r.pki), "collector", []string{"127.0.0.1", "localhost"}, pki.Options{Overwrite: true}); err != nil {
				r.t.Fatal(err)
			}
			if err := r.c.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
				r.t.Fatal(err)
			}
			r.c.Wait(`"credentials_changed":true`)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := startResuming(t)
			r.configure("exporter", r.udp)
			r.export()
			if row.before != nil {
				row.before(r)
			}
			r.configure(row.cert, r.overDCCP(row.host))
			if err := r.e.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			r.end(row.resumed)
		})
	}
}
