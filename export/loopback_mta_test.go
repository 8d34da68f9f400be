package export_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/pki"
	"ipfixsuite/record"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/tcp"
	"ipfixsuite/transport/tlsmux"
)

// perDomain is a sink that counts records by Observation Domain.
type perDomain struct {
	mu   sync.Mutex
	n    map[uint32]int
	more chan struct{}
}

func (s *perDomain) Write(b *record.Batch) error {
	s.mu.Lock()
	s.n[b.Domain] += b.Records
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return nil
}

func (s *perDomain) Flush() error { return nil }
func (s *perDomain) Close() error { return nil }

// wait waits until each of the domains has n records.
func (s *perDomain) wait(t *testing.T, n int, domains ...uint32) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		s.mu.Lock()
		all := true
		for _, d := range domains {
			all = all && s.n[d] >= n
		}
		s.mu.Unlock()
		if all {
			return
		}
		select {
		case <-s.more:
		case <-late:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("%v records of each domain, want %d of %v", s.n, n, domains)
		}
	}
}

// slowDomain holds up what reads the messages of one Observation Domain.
type slowDomain struct {
	*collect.Collector
	domain uint32
	on     atomic.Bool
	goOn   chan struct{}
}

type slowReceiver struct {
	transport.Receiver
	*slowDomain
}

func (s *slowDomain) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	r, err := s.Collector.Open(p, props)
	return &slowReceiver{r, s}, err
}

func (r *slowReceiver) Message(m transport.Incoming) {
	if binary.BigEndian.Uint32(m.Data[12:]) == r.domain && r.on.Load() {
		<-r.goOn
	}
	r.Receiver.Message(m)
}

func certified(t *testing.T) (collector, exporter *credentials.Credentials) {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	load := func(name string) *credentials.Credentials {
		if err := pki.Issue(dir, name, nil, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		c, err := credentials.Load(credentials.Config{
			CertFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+"-key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return load("collector"), load("exporter")
}

// Each Observation Domain has a channel of its own, which is a Transport
// Session of its own; where one stands still at the collector, more than its
// window being written to it, the others go on, and nothing is lost.
func TestLoopback_MTA_OneChannelStandsStill(t *testing.T) {
	collector, exporter := certified(t)
	l, err := tcp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), tcp.Config{
		Credentials: collector, Scheme: "mta+tls+tcp", NextProtos: []string{tlsmux.Protocol},
		Upgrade: map[string]tcp.Upgrade{tlsmux.Protocol: tlsmux.Upgrade(tlsmux.CollectorConfig{Names: func() []string { return []string{"collector"} }})},
	})
	if err != nil {
		t.Fatal(err)
	}
	sink := &perDomain{n: make(map[uint32]int), more: make(chan struct{}, 1)}
	slow := &slowDomain{Collector: collect.New(collect.Config{Sinks: []collect.Sink{sink}}), domain: 1, goOn: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, slow) }()

	e, err := export.New(export.Config{
		Dialer: &tlsmux.Dialer{TCP: &tcp.Dialer{
			Remote: l.Addr(), Config: tcp.Config{Credentials: exporter, ServerName: "collector", Scheme: "mta+tls+tcp"},
		}},
		Domain: 1, DeadAfter: 2 * time.Minute, MaxDelay: 20 * time.Millisecond, StatsInterval: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- e.Run(context.Background()) }()
	specs := []ipfix.FieldSpec{{ID: ie.ID{Num: 1}, Length: 8}, {ID: ie.ID{Num: 27}, Length: 16}}
	const domains, n = 4, 80_000
	var templates []*export.Template
	for d := range uint32(domains) {
		tmpl, err := e.DefineIn(d+1, 0, specs)
		if err != nil {
			t.Fatal(err)
		}
		templates = append(templates, tmpl)
	}
	write := func(first, last int) {
		for i := first; i <= last; i++ {
			rec := binary.BigEndian.AppendUint64(nil, uint64(i))
			for _, tmpl := range templates {
				if err := e.Write(t.Context(), tmpl, append(rec, make([]byte, 16)...)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write(1, 1)
	sink.wait(t, 1, 1, 2, 3, 4)
	slow.on.Store(true)
	write(2, n)
	sink.wait(t, n, 2, 3, 4)
	sink.mu.Lock()
	behind := sink.n[1]
	sink.mu.Unlock()
	slow.on.Store(false)
	close(slow.goOn)
	if behind >= n {
		t.Errorf("the domain that was to stand still has %d records", behind)
	}
	cctx, ccancel := context.WithTimeout(t.Context(), time.Minute)
	defer ccancel()
	if err := e.Close(cctx); err != nil {
		t.Error(err)
	}
	<-over
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := slow.Close(t.Context()); err != nil {
		t.Error(err)
	}
	sum, got := e.Summary(), summary(slow.Collector)
	if sum.RecordsSent != domains*n || got.RecordsReceived != domains*n || got.RecordsLost+got.DataBeforeTemplate != 0 || sum.CollectorsLost+sum.RecordsReplayed != 0 {
		t.Errorf("exporter %+v\ncollector %+v", sum, got)
	}
	if got.SessionsOpened < domains {
		t.Errorf("%d sessions for %d domains", got.SessionsOpened, domains)
	}
	for d, count := range sink.n {
		if count != n {
			t.Errorf("domain %d has %d records", d, count)
		}
	}
}
