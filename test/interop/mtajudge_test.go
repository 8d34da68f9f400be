package interop

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"ipfixsuite/test/harness"
)

// mtaVersions are those of TLS that MTA-TLS runs on.
var mtaVersions = []struct {
	name string
	tls  uint16
}{{"TLS 1.3", tls.VersionTLS13}, {"TLS 1.2", tls.VersionTLS12}}

// mtaTLS is one version of TLS for the second speaker, as either end.
func mtaTLS(t *testing.T, pki harness.PKI, name string, version uint16) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(pki.Cert(name), pki.Key(name))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(pki.CA())
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no authority: %v", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, ServerName: "localhost",
		MinVersion: version, MaxVersion: version, NextProtos: []string{mtaProtocol},
	}
}

// domainFile writes an IPFIX file of Observation Domains from 1 on, of which
// many has how many records each is to have, by turns. The records count from
// 1 in octetDeltaCount; n is the last.
func domainFile(t *testing.T, many []int) (name string, n int) {
	t.Helper()
	var file []byte
	seq := make([]int, len(many))
	for more := true; more; {
		more = false
		for d := range many {
			k := min(50, many[d]-seq[d])
			if k <= 0 {
				continue
			}
			more = true
			file = append(file, domainMessage(d+1, n+1, seq[d], k, true)...)
			seq[d] += k
			n += k
		}
	}
	name = filepath.Join(t.TempDir(), "domains.ipfix")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, n
}

// domainMessage is a message of k records that count from first on.
func domainMessage(domain, first, seq, k int, template bool) []byte {
	b := bytes.Join([][]byte{be16(10), be16(0), be32(int(time.Now().Unix())), be32(seq), be32(domain)}, nil)
	if template { // octetDeltaCount, sourceIPv4Address
		b = append(b, 0, 2, 0, 16, 1, 0, 0, 2, 0, 1, 0, 8, 0, 8, 0, 4)
	}
	b = append(append(b, 1, 0), be16(4+12*k)...)
	for i := range k {
		b = append(binary.BigEndian.AppendUint64(b, uint64(first+i)), 192, 0, 2, 1)
	}
	copy(b[2:], be16(len(b)))
	return b
}

// ledger is what arrived at the second speaker on one channel, as goflow2 reads
// it: by itself, for a channel is a Transport Session.
type ledger struct {
	templates netflow.NetFlowTemplateSystem
	domain    uint32
	sequence  uint32
	numbers   []int
}

func (l *ledger) read(m []byte) error {
	var v9 netflow.NFv9Packet
	var msg netflow.IPFIXPacket
	if err := netflow.DecodeMessageVersion(bytes.NewBuffer(m), l.templates, &v9, &msg); err != nil {
		return err
	}
	if msg.ObservationDomainId != l.domain || msg.SequenceNumber != l.sequence {
		return fmt.Errorf("domain %d, number %d, on the channel of domain %d, whose next is %d", msg.ObservationDomainId, msg.SequenceNumber, l.domain, l.sequence)
	}
	for _, set := range msg.FlowSets {
		switch set := set.(type) {
		case netflow.OptionsDataFlowSet:
			l.sequence += uint32(len(set.Records))
		case netflow.DataFlowSet:
			l.sequence += uint32(len(set.Records))
			for _, r := range set.Records {
				for _, f := range r.Values {
					if b, ok := f.Value.([]byte); ok && f.Type == 1 && len(b) == 8 {
						l.numbers = append(l.numbers, int(binary.BigEndian.Uint64(b)))
					}
				}
			}
		}
	}
	return nil
}

// taken is one session at the second speaker.
type taken struct {
	resumed, orderly bool
	opened, alive    int
	channels         map[*mtaChannel]*ledger
	err              error
}

// mtaJudge is what a test has to say to what arrives; each may be nil.
type mtaJudge struct {
	holds   func(*ledger) bool // keeps a channel's window back
	saw     func(*ledger)
	shuts   func(*ledger) bool // closes a channel of which something came
	full    func()             // a channel's window is used up
	began   func(resumed bool) // a handshake is complete
	carries func(channels int) // so many of a session's have brought records, one more than before
	// refuses and leaves say of the n-th channel that a session asks for, from 1
	// on, that it is not given, or not answered at all.
	refuses, leaves func(n int) bool
}

// collects serves the draft to one connection until its end.
func collects(c *tls.Conn, j mtaJudge) (got taken) {
	got.channels = map[*mtaChannel]*ledger{}
	s := newMTASpeaker(c, false, 300_000, 5000)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	if got.err = c.Handshake(); got.err != nil {
		return got
	}
	st := c.ConnectionState()
	if got.resumed = st.DidResume; st.NegotiatedProtocol != mtaProtocol {
		got.err = fmt.Errorf("agreed on %q", st.NegotiatedProtocol)
		return got
	}
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	if j.began != nil {
		j.began(got.resumed)
	}
	asked := 0
	s.leaves = func() bool {
		asked++
		return j.leaves != nil && j.leaves(asked)
	}
	s.grants = func(host string, to int) bool {
		return host == "collector" && strconv.Itoa(to) == port && (j.refuses == nil || !j.refuses(asked))
	}
	var held []*mtaChannel
	used := 0 // channels
	s.message = func(ch *mtaChannel, m []byte) (bool, error) {
		l, some := got.channels[ch], 0
		if l != nil {
			some = len(l.numbers)
		}
		if l == nil {
			l = &ledger{templates: netflow.CreateTemplateSystem(), domain: binary.BigEndian.Uint32(m[12:])}
			got.channels[ch] = l
		}
		if err := l.read(m); err != nil {
			return false, err
		}
		if some == 0 && len(l.numbers) > 0 {
			if used++; j.carries != nil {
				j.carries(used)
			}
		}
		if j.saw != nil {
			j.saw(l)
		}
		if !ch.closing && j.shuts != nil && j.shuts(l) {
			s.shut(ch) // what it has brought lately is not acknowledged
		}
		if ch.closing {
			return false, nil
		}
		if j.holds != nil && j.holds(l) {
			if !slices.Contains(held, ch) {
				held = append(held, ch)
			}
			return false, nil
		}
		for _, ch := range held { // nobody holds them any more, perhaps
			if !j.holds(got.channels[ch]) {
				s.acknowledge(ch)
			}
		}
		return true, nil
	}
	s.full = func(*mtaChannel) {
		if j.full != nil {
			j.full()
		}
	}
	for got.err == nil {
		got.err = s.step()
	}
	got.opened, got.alive = s.opened, s.lifeSigns
	if errors.Is(got.err, io.EOF) {
		got.err, got.orderly = nil, len(s.channels) == 0
	}
	return got
}

// mtaServer collects as the second speaker. ended waits for the end of all
// sessions and tells of those that were more than begun: at its end an exporter
// may be about to open another.
func mtaServer(t *testing.T, cfg *tls.Config, j mtaJudge) (to string, ended func() []taken) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []taken
	var wg sync.WaitGroup
	ended = func() []taken {
		ln.Close()
		wg.Wait() // their time is bounded
		return slices.DeleteFunc(all, func(s taken) bool { return s.carried() == 0 })
	}
	t.Cleanup(func() { ended() })
	wg.Go(func() { // ended by ln.Close
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { // ended by the exporter, or its deadline
				s := collects(c.(*tls.Conn), j)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, s)
			})
		}
	})
	return "mta+tls+tcp://" + ln.Addr().String(), ended
}

// carried is how many records came.
func (s *taken) carried() (n int) {
	for _, l := range s.channels {
		n += len(l.numbers)
	}
	return n
}
