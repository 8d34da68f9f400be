package source

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/transport"
)

// capturing is a transport.Session that keeps what it is sent. Its far end
// decodes each message at once and writes JSON lines.
type capturing struct {
	mu        sync.Mutex
	templates map[uint32]map[uint16]*ipfix.Template
	lines     []string
	faults    []string
	done      chan struct{}
	once      sync.Once
}

func newCapturing() *capturing {
	return &capturing{templates: make(map[uint32]map[uint16]*ipfix.Template), done: make(chan struct{})}
}

func (s *capturing) Dial(context.Context) (transport.Session, error) { return s, nil }

func (s *capturing) Send(_ context.Context, batch []transport.Outgoing) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		s.receive(m.Data)
	}
	return len(batch), nil
}

func (s *capturing) receive(msg []byte) {
	h, err := ipfix.ParseHeader(msg)
	if err != nil {
		s.faults = append(s.faults, err.Error())
		return
	}
	known := s.templates[h.Domain]
	if known == nil {
		known = make(map[uint16]*ipfix.Template)
		s.templates[h.Domain] = known
	}
	for set, err := range ipfix.Sets(msg) {
		if err != nil {
			s.faults = append(s.faults, err.Error())
			return
		}
		if set.ID < ipfix.MinDataSetID {
			for tr, err := range ipfix.ParseTemplates(set.ID, set.Body) {
				if err != nil {
					s.faults = append(s.faults, err.Error())
					return
				}
				if known[tr.ID], err = ipfix.NewTemplate(tr.ID, tr.Scope, tr.Fields, ie.IANA()); err != nil {
					s.faults = append(s.faults, err.Error())
				}
			}
			continue
		}
		if known[set.ID] == nil {
			s.faults = append(s.faults, "data before template")
			continue
		}
		var e record.Encoder
		b, _, err := e.AppendBatch(nil, &record.Batch{
			Meta:     &record.Meta{Exporter: "x", Domain: h.Domain},
			Template: known[set.ID],
			Body:     set.Body,
			Lists:    func(id uint16) *ipfix.Template { return known[id] },
		})
		if err != nil {
			s.faults = append(s.faults, err.Error())
		}
		for line := range strings.Lines(string(b)) {
			_, text, _ := strings.Cut(line, `"@exportTime":`)
			_, text, _ = strings.Cut(text, ",")
			s.lines = append(s.lines, strings.TrimSuffix(strings.TrimSpace(text), "}"))
		}
	}
}

func (s *capturing) MaxMessage() int { return 1400 }
func (s *capturing) Properties() transport.Properties {
	return transport.Properties{Reliable: true, Ordered: true, Streams: 1}
}
func (s *capturing) Peer() transport.Peer          { return transport.Peer{Session: 1} }
func (s *capturing) Probe(context.Context) error   { return transport.ErrNoProbe }
func (s *capturing) Done() <-chan struct{}         { return s.done }
func (s *capturing) Err() error                    { return nil }
func (s *capturing) Stats() transport.SessionStats { return transport.SessionStats{} }
func (s *capturing) Close(context.Context) error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// got returns the lines received, without metadata.
func (s *capturing) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// runs exports a source into a capturing session until it ends.
func runs(t *testing.T, src Source, stats time.Duration) (*capturing, error) {
	t.Helper()
	s := newCapturing()
	e, err := export.New(export.Config{Dialer: s, Domain: 9, StatsInterval: stats})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Run(context.Background()) }()
	res := src.Run(t.Context(), e)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Error(err)
	}
	<-done
	for _, f := range s.faults {
		t.Error(f)
	}
	return s, res
}

func parse(t *testing.T, spec string, cfg Config) Source {
	t.Helper()
	s, err := Parse(spec, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
