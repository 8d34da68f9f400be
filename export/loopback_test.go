package export_test

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/transport/udp"
)

// numbered is a sink that checks that the records' octetDeltaCount counts up
// from 1 without a gap.
type numbered struct {
	mu   sync.Mutex
	last uint64
	bad  int
}

func (s *numbered) Write(b *record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r ipfix.Records
	r.Reset(b.Template, b.Body)
	for r.Next() {
		if n := r.Value(0).Num; n != s.last+1 {
			s.bad++
		}
		s.last = r.Value(0).Num
	}
	return r.Err()
}

func (s *numbered) Flush() error { return nil }
func (s *numbered) Close() error { return nil }

func summary(c *collect.Collector) collect.Summary {
	s := c.Stats()
	return s.Summary()
}

// Over a real socket to our collector: nothing lost, nothing out of order,
// and both sides count the same.
func TestLoopback_UDP(t *testing.T) {
	conn, err := udp.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := udp.NewListener(conn, udp.Config{})
	sink := new(numbered)
	c := collect.New(collect.Config{Sinks: []collect.Sink{sink}})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, c) }()

	e, err := export.New(export.Config{
		Dialer: &udp.Dialer{Remote: l.Addr()}, Domain: 3, MaxMessage: 1400, MaxRate: 300_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	go e.Run(t.Context())
	tmpl, err := e.Define(0, []ipfix.FieldSpec{{ID: ie.ID{Num: 1}, Length: 8}, {ID: ie.ID{Num: 8}, Length: 4}})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	for i := range n {
		rec := binary.BigEndian.AppendUint64(nil, uint64(i+1))
		if err := e.Write(t.Context(), tmpl, append(rec, 192, 0, 2, 1)); err != nil {
			t.Fatal(err)
		}
	}
	cctx, ccancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer ccancel()
	if err := e.Close(cctx); err != nil {
		t.Error(err)
	}
	sum := e.Summary()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if s := summary(c); s.MessagesReceived == sum.MessagesSent {
			break
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	got := summary(c)
	if drops := l.Stats().SocketDrops; drops > 0 { // a busy machine: the account must add up all the same
		t.Logf("%d datagrams dropped by the socket", drops)
		if got.RecordsReceived+got.RecordsLost > n || got.RecordsLost == 0 {
			t.Errorf("exporter %+v\ncollector %+v", sum, got)
		}
		return
	}
	if sum.RecordsExported != n || sum.RecordsSent != n || got.RecordsReceived != n || got.RecordsLost != 0 ||
		got.ControlRecordsReceived != sum.ControlRecordsSent || got.TemplatesReceived != sum.TemplatesSent || got.DataBeforeTemplate != 0 {
		t.Errorf("exporter %+v\ncollector %+v", sum, got)
	}
	if sink.bad != 0 || sink.last != n {
		t.Errorf("%d records out of order, last %d", sink.bad, sink.last)
	}
}
