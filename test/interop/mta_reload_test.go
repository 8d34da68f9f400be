package interop

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// replace puts a file in the place of another at once.
func replace(t *testing.T, to, from string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Both ends change from one authority to another under numbered records, in an
// order that shuts each of them out once: the collector trusts the old one no
// more while the exporter has still its certificate, then the exporter while the
// collector has. Each comes in again with its next certificate, whether a signal
// says that the files have changed or nobody does. A broken file leaves what is
// in use in force. No record is lost.
func TestReload_ShutOut(t *testing.T) {
	for _, scheme := range []string{"tls+tcp", "mta+tls+tcp", "dtls+udp"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			const patience = time.Minute
			before, after := harness.NewPKI(t, "collector", "exporter"), harness.NewPKI(t, "collector", "exporter")
			dir, flows := t.TempDir(), t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			identity := func(who string, pki harness.PKI) {
				replace(t, at(who+"-key.pem"), pki.Key(who))
				replace(t, at(who+".pem"), pki.Cert(who))
			}
			flags := func(who string) []string {
				return []string{"--cert", at(who + ".pem"), "--key", at(who + "-key.pem"), "--ca", at(who + "-ca.pem"), "--watch-files", "100ms"}
			}
			var both []byte
			for _, pki := range []harness.PKI{before, after} {
				raw, err := os.ReadFile(pki.CA())
				if err != nil {
					t.Fatal(err)
				}
				both = append(both, raw...)
			}
			for _, who := range []string{"collector", "exporter"} {
				identity(who, before)
				if err := os.WriteFile(at(who+"-ca.pem"), both, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := harness.StartCollector(t, append([]string{"--listen", scheme + "://127.0.0.1:0", "--sink", "json:" + flows, "--flush", "50ms"}, flags("collector")...)...)
			e := harness.StartExporter(t, append([]string{"--source", "json:-", "--to", scheme + "://" + c.Addr, "--server-name", "collector",
				"--rotate", "0", "--heartbeat", "300ms"}, flags("exporter")...)...)
			feeder := harness.Feeder{Rate: 1000}
			feeder.Begin(e)
			e.Wait(`"msg":"session carries data"`)

			// Broken files, with and without a signal.
			began := time.Now()
			if err := os.WriteFile(at("exporter-key.pem"), []byte("no key\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			e.LoggedAfter(began, patience, `the old ones stay in use`)
			if err := os.WriteFile(at("collector-ca.pem"), []byte("no authority\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_ = c.Cmd.Process.Signal(syscall.SIGHUP)
			c.LoggedAfter(began, patience, `the old ones stay in use`)

			// The exporter is shut out, and comes in with its next certificate.
			began = time.Now()
			replace(t, at("collector-ca.pem"), after.CA())
			c.LoggedAfter(began, patience, `not let in any more`)
			e.LoggedAfter(began, patience, `"msg":"no session with collector"`)
			began = time.Now()
			identity("exporter", after)
			_ = e.Cmd.Process.Signal(syscall.SIGHUP)
			e.LoggedAfter(began, patience, `"msg":"session carries data"`)

			// Then the collector: the session that there is goes on meanwhile.
			began = time.Now()
			replace(t, at("exporter-ca.pem"), after.CA())
			e.LoggedAfter(began, patience, `"msg":"no session with collector"`)
			began = time.Now()
			identity("collector", after)
			c.LoggedAfter(began, patience, `"msg":"credentials renewed"`)
			e.LoggedAfter(began, patience, `"msg":"session opened"`)

			given := feeder.Given()
			harness.Until(t, "records go on", func() bool { return feeder.Given() > given })
			n := feeder.End()
			e.EndInput()
			out := e.Summary(time.Minute)
			in := c.Summary()
			tally := harness.Written(t, n, flows)
			t.Logf("%d records, %v sessions, %v replayed, %d missing, %d twice", n, out["sessions_opened"], out["records_replayed"], tally.Missing(), tally.Again())
			if tally.Missing() != 0 || tally.Again() > int(out["records_replayed"]) || out["records_sent"] != float64(n) || out["records_dropped"]+out["records_unconfirmed"] != 0 {
				t.Errorf("%d records missing, %d twice: %v", tally.Missing(), tally.Again(), out)
			}
			if in["messages_malformed"]+in["records_undecodable"] != 0 || in["records_lost"] != 0 && scheme != "dtls+udp" {
				t.Errorf("collector: %v", in)
			}
		})
	}
}
