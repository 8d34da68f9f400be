package interop

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ipfixsuite/test/harness"
)

// The second speaker as an exporter: a hundred channels into our collector,
// packets cut and joined at will. What the collector has acknowledged stands in
// its files, though it is killed at that moment. The second session resumes the
// first; channels to anywhere else are refused, and nobody is called.
func TestMTA_SecondSpeakerExports(t *testing.T) {
	t.Parallel()
	const channels, each = 100, 40
	pki := harness.NewPKI(t, "collector", "exporter")
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	called := make(chan struct{}, 1)
	go func() { // ended by Close
		if _, err := elsewhere.Accept(); err == nil {
			called <- struct{}{}
		}
	}()
	for _, v := range mtaVersions {
		t.Run(v.name, func(t *testing.T) {
			flows := t.TempDir()
			c := harness.StartCollector(t, append([]string{"--listen", "mta+tls+tcp://127.0.0.1:0", "--sink", "json:" + flows}, pki.Flags("collector")...)...)
			cfg := mtaTLS(t, pki, "exporter", v.tls)
			cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			_, port, _ := net.SplitHostPort(c.Addr)
			for session := range 2 {
				conn, err := tls.Dial("tcp", c.Addr, cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				if st := conn.ConnectionState(); st.NegotiatedProtocol != mtaProtocol || st.DidResume != (session == 1) {
					t.Fatalf("session %d: protocol %q, resumed %v", session, st.NegotiatedProtocol, st.DidResume)
				}
				s := newMTASpeaker(conn, true, 1000, 1000)
				if err := exports(s, int(num(t, port)), channels, each, session*channels*each, elsewhere.Addr().(*net.TCPAddr).Port); err != nil {
					t.Fatal(err)
				}
				if session == 1 {
					break // killed with all channels open
				}
				for _, ch := range s.channels {
					s.shut(ch)
				}
				for err = s.flush(); err == nil && len(s.channels) > 0; {
					err = s.step()
				}
				if err == nil {
					err = conn.CloseWrite()
				}
				for err == nil {
					err = s.step()
				}
				if !errors.Is(err, io.EOF) {
					t.Fatalf("the end of the session: %v", err)
				}
			}
			c.Kill()
			domainOf := map[uint64]uint32{}
			files, _ := filepath.Glob(filepath.Join(flows, "*"))
			for _, file := range files { // nobody gave them their last names
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for line := range bytes.Lines(raw) {
					var r struct {
						Session uint64 `json:"@session"`
						Domain  uint32 `json:"@domain"`
					}
					if err := json.Unmarshal(line, &r); err != nil {
						t.Fatalf("%s: %v", line, err)
					}
					if was, ok := domainOf[r.Session]; ok && was != r.Domain {
						t.Errorf("session %d has the domains %d and %d", r.Session, was, r.Domain)
					}
					domainOf[r.Session] = r.Domain
				}
			}
			written := harness.Written(t, 2*channels*each, flows)
			if written.Missing() != 0 || written.Again() != 0 || len(domainOf) != 2*channels {
				t.Errorf("%d records missing, %d twice, %d sessions", written.Missing(), written.Again(), len(domainOf))
			}
		})
	}
	select {
	case <-called:
		t.Error("the collector called somebody on behalf of a peer")
	default:
	}
}

// exports sends records from after+1 on, each on as many channels, and waits
// until they are acknowledged.
func exports(s *mtaSpeaker, port, channels, each, after, elsewhere int) error {
	list := make([]*mtaChannel, channels)
	for i := range list {
		list[i] = s.ask([]string{"localhost", "127.0.0.1", "collector"}[i%3], port)
	}
	s.ask("127.0.0.1", elsewhere)
	s.ask("localhost", elsewhere)
	s.ask("192.0.2.9", port)
	err := s.flush()
	for err == nil && len(s.asking) > 0 {
		err = s.step()
	}
	if err != nil || s.opened != channels || s.refusals != 3 {
		return fmt.Errorf("%d channels granted, %d refused: %w", s.opened, s.refusals, err)
	}
	for round := range each / 10 { // of each channel a message, in pieces that go by turns
		left := make([][]byte, channels)
		for i := range list {
			left[i] = domainMessage(i+1, after+i*each+round*10+1, round*10, 10, round == 0)
		}
		for more := true; more; {
			more = false
			for i, ch := range list {
				n := min(len(left[i]), 1+(i*7+round*13)%90)
				left[i] = left[i][s.send(ch, left[i][:n], 40):]
				more = more || len(left[i]) > 0
			}
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
	for _, ch := range list {
		for ch.returned < ch.sent {
			if err := s.step(); err != nil {
				return err
			}
		}
	}
	return nil
}
