package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/endpoint"
	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/pki"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// house is a collector that counts the records it gets, of 4 octets each.
type house struct {
	came chan transport.Peer

	mu   sync.Mutex
	data int
}

func (h *house) Open(p transport.Peer, _ transport.Properties) (transport.Receiver, error) {
	h.came <- p
	return h, nil
}
func (h *house) Barrier(done func()) { done() }
func (h *house) Closed(error)        {}

func (h *house) Message(m transport.Incoming) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for set, err := range ipfix.Sets(m.Data) {
		if err == nil && set.ID >= ipfix.MinDataSetID {
			h.data += len(set.Body) / 4
		}
	}
}

func (h *house) got() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.data
}

// move is a collector at two addresses, of which its name has one at a time.
type move struct {
	houses [2]*house
	addrs  []netip.AddrPort
	creds  *credentials.Credentials

	mu    sync.Mutex
	names map[string][]netip.Addr
	err   error
}

func (m *move) set(name string, addrs ...netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[name] = nil
	for _, a := range addrs {
		m.names[name] = append(m.names[name], a.Addr())
	}
}

func (m *move) lookup(_ context.Context, name string) ([]netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.names[name]), m.err
}

func newMove(t *testing.T) *move {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	load := func(name string, sans ...string) *credentials.Credentials {
		if err := pki.Issue(dir, name, sans, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		c, err := credentials.Load(credentials.Config{CertFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+"-key.pem"), CAFile: filepath.Join(dir, pki.CAFile)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	collector := load("collector.example", "other.example")
	m := &move{creds: load("exporter.example"), names: map[string][]netip.Addr{}}
	for i, l := range sameListeners(t, collector, "127.0.0.1", "127.0.0.2") {
		m.addrs = append(m.addrs, l.Addr())
		h := &house{came: make(chan transport.Peer, 16)}
		m.houses[i] = h
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- l.Serve(ctx, h) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return m
}

// sameListeners listen on one port of several addresses: one that is taken at
// any of them is not used.
func sameListeners(t *testing.T, creds *credentials.Credentials, hosts ...string) []transport.Listener {
	t.Helper()
	var taken error
	for range 50 {
		var all []transport.Listener
		port := uint16(0)
		for _, host := range hosts {
			l, err := endpoint.Listen(transport.Endpoint{Scheme: "dtls+udp", Host: host, Port: port}, endpoint.Config{Credentials: creds})
			if err != nil {
				taken = err
				break
			}
			port = l.Addr().Port()
			all = append(all, l)
		}
		if len(all) == len(hosts) {
			return all
		}
		for _, l := range all {
			l.Close()
		}
	}
	t.Fatal(taken)
	return nil
}

func (m *move) fleet(t *testing.T, mode string, log *slog.Logger, names ...string) *fleet {
	t.Helper()
	s := &settings{
		mode: mode, rotate: func(transport.Endpoint) time.Duration { return 0 },
		dial:   endpoint.Config{Credentials: m.creds, Lookup: m.lookup},
		export: export.Config{StatsInterval: -1, MaxDelay: 10 * time.Millisecond, Log: log},
	}
	for _, n := range names {
		s.to = append(s.to, transport.Endpoint{Scheme: "dtls+udp", Host: n, Port: m.addrs[0].Port()})
	}
	to, err := destinations(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := newFleet(s, to, log)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (h *house) await(t *testing.T) {
	t.Helper()
	select {
	case <-h.came:
	case <-time.After(20 * time.Second):
		t.Fatal("no session came")
	}
}

// A name's address changes while nothing is wrong with the session: it is
// replaced by one to the new address, for the cause path, and nothing is lost.
// A name that cannot be resolved, or has one address more, changes nothing.
func TestFleet_followsNames(t *testing.T) {
	for _, mode := range []string{"failover", "all", "hash"} {
		t.Run(mode, func(t *testing.T) {
			m := newMove(t)
			m.set("collector.example", m.addrs[0])
			var log bytes.Buffer
			f := m.fleet(t, mode, slog.New(slog.NewTextHandler(&log, nil)), "collector.example")
			ended := make(chan error, 1)
			go func() { ended <- f.Run(context.Background()) }() // ends with Close
			p, err := f.Define(0, []ipfix.FieldSpec{{ID: ie.ID{Num: 1}, Length: 4}})
			if err != nil {
				t.Fatal(err)
			}
			flush := func() {
				t.Helper()
				if err := f.Write(t.Context(), p, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}
				var exporters []*export.Exporter
				f.each(func(e *export.Exporter, _ []destination) { exporters = append(exporters, e) })
				if err := exporters[0].Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			m.houses[0].await(t)
			flush()
			f.follow(t.Context())
			m.mu.Lock()
			m.err = context.DeadlineExceeded
			m.mu.Unlock()
			f.follow(t.Context())
			m.mu.Lock()
			m.err = nil
			m.mu.Unlock()
			m.set("collector.example", m.addrs[1], m.addrs[0])
			f.follow(t.Context())
			flush()
			if n := f.Summary().RotationsByCause.Path; n != 0 {
				t.Fatalf("%d moves before it moved", n)
			}
			m.set("collector.example", m.addrs[1])
			f.follow(t.Context())
			m.houses[1].await(t)
			for end := time.Now().Add(time.Minute); f.Summary().RotationsByCause.Path == 0; flush() {
				if time.Now().After(end) {
					t.Fatalf("the session is not replaced: %+v", f.Summary())
				}
			}
			flush()
			f.follow(t.Context())
			if err := f.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			sum := f.Summary()
			// One that stands still for a moment is doubted: that makes a session more.
			if sum.RotationsByCause.Path != 1 || sum.Rotations != 1+sum.RotationsByCause.Suspicion || sum.CollectorsLost != 0 || sum.RecordsDropped != 0 {
				t.Errorf("%+v", sum)
			}
			if got := m.houses[0].got() + m.houses[1].got(); uint64(got) != sum.RecordsSent || m.houses[1].got() == 0 {
				t.Errorf("%d and %d of %d records came", m.houses[0].got(), m.houses[1].got(), sum.RecordsSent)
			}
			if text := log.String(); strings.Count(text, "name leads elsewhere now") != 1 || strings.Count(text, "name not resolved again") != 1 {
				t.Errorf("log: %s", text)
			}
		})
	}
}
