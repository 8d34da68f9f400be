package link

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/test/harness"
)

// OpenSSL answers no heartbeats, and serves one session at a time. It is
// killed: that is suspected within seconds, because its host says that the
// port is closed, certain within the bound of heartbeat.LivenessConfig for
// such a peer (the long form waits for it), and once it is back it has its
// session, whether it had been given up by then or not.
func TestOpenSSL_Killed(t *testing.T) {
	t.Parallel()
	openssl := harness.Tool(t, "openssl")
	const rate = 500
	d := 14 * time.Second
	if long() {
		d = 75 * time.Second
	}
	pki := harness.NewPKI(t, "collector", "exporter")
	port := strconv.Itoa(harness.FreePort(t))
	serve := func() (*harness.Process, string) {
		out := filepath.Join(t.TempDir(), "received.ipfix")
		return harness.StartTo(t, out, openssl, "s_server", "-dtls1_2", "-4", "-quiet", "-listen", "-accept", "127.0.0.1:"+port,
			"-cert", pki.Cert("collector"), "-key", pki.Key("collector"), "-CAfile", pki.CA(), "-Verify", "2", "-verify_return_error"), out
	}
	server, _ := serve()
	e := harness.StartExporter(t, append([]string{"--source", "json:" + harness.Numbered(t, int(d.Seconds()*rate)), "--to", "dtls+udp://127.0.0.1:" + port, "--max-rate", fmt.Sprint(rate), "--mtu", "1500"},
		pki.Flags("exporter")...)...)
	e.Wait(`"msg":"session opened"`)
	time.Sleep(1500 * time.Millisecond)

	killed := time.Now()
	server.Kill()
	suspected := e.LoggedAfter(killed, 30*time.Second, `"msg":"no session with collector"`).Sub(killed)
	if suspected > heartbeat.DefaultHandshakeEvery*3/4 { // without the hint that is when it would be
		t.Errorf("suspected after %v", suspected)
	}
	if long() {
		lost := e.LoggedAfter(killed, time.Minute, `"msg":"session lost"`).Sub(killed)
		t.Logf("certain after %v", lost.Round(time.Millisecond))
		if lost > heartbeat.DefaultHandshakeLimit+5*time.Second {
			t.Errorf("certain after %v", lost)
		}
	}
	back := time.Now()
	_, out := serve()
	opened := e.LoggedAfter(back, 40*time.Second, `"msg":"session opened"`).Sub(back)
	t.Logf("suspected after %v, a session %v after it was back", suspected.Round(time.Millisecond), opened.Round(time.Millisecond))
	sum := e.Summary(2 * time.Minute)
	if sum["sessions_opened"] != 2 || sum["collectors_lost"] != 1 || sum["records_replayed"] == 0 || sum["records_dropped"] != 0 {
		t.Errorf("exporter %v", sum)
	}
	if st, err := os.Stat(out); err != nil || st.Size() < harness.RecordSize*rate {
		t.Errorf("the second one got too little: %v", err)
	}
}
