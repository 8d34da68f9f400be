package fanout

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// collector is a transport.Session in memory and its Dialer. It decodes what
// it is sent and takes octets at a given rate.
type collector struct {
	rate float64     // octets a second; 0: no bound
	dead atomic.Bool // no session can be opened
	max  int

	mu        sync.Mutex
	templates map[uint16]*ipfix.Template
	records   [][]byte // Data Records that are no options records
	options   int      // those that are
	faults    []string
	done      chan struct{}
	once      sync.Once
}

func newCollector(rate float64) *collector {
	return &collector{rate: rate, max: 1400, templates: make(map[uint16]*ipfix.Template), done: make(chan struct{})}
}

func (c *collector) Dial(ctx context.Context) (transport.Session, error) {
	if c.dead.Load() {
		return nil, errors.New("nobody there")
	}
	return c, nil
}

func (c *collector) Send(ctx context.Context, batch []transport.Outgoing) (int, error) {
	for i, m := range batch {
		if c.rate > 0 {
			select {
			case <-time.After(time.Duration(float64(len(m.Data)) / c.rate * float64(time.Second))):
			case <-ctx.Done():
				return i, ctx.Err()
			}
		}
		c.receive(m.Data)
	}
	return len(batch), nil
}

func (c *collector) receive(msg []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for set, err := range ipfix.Sets(msg) {
		if err != nil {
			c.faults = append(c.faults, err.Error())
			return
		}
		if set.ID < ipfix.MinDataSetID {
			for tr, err := range ipfix.ParseTemplates(set.ID, set.Body) {
				if err == nil && tr.Withdrawal() {
					delete(c.templates, tr.ID)
					continue
				}
				if err == nil {
					c.templates[tr.ID], err = ipfix.NewTemplate(tr.ID, tr.Scope, tr.Fields, ie.IANA())
				}
				if err != nil {
					c.faults = append(c.faults, err.Error())
				}
			}
			continue
		}
		t := c.templates[set.ID]
		if t == nil {
			c.faults = append(c.faults, "data before template")
			continue
		}
		var r ipfix.Records
		for r.Reset(t, set.Body); r.Next(); {
			if t.Scope > 0 {
				c.options++
			} else {
				c.records = append(c.records, bytes.Clone(r.Raw()))
			}
		}
	}
}

func (c *collector) MaxMessage() int { return c.max }
func (c *collector) Properties() transport.Properties {
	return transport.Properties{Reliable: true, Ordered: true, Streams: 1}
}

func (c *collector) Peer() transport.Peer          { return transport.Peer{Session: 1} }
func (c *collector) Probe(context.Context) error   { return transport.ErrNoProbe }
func (c *collector) Done() <-chan struct{}         { return c.done }
func (c *collector) Err() error                    { return nil }
func (c *collector) Stats() transport.SessionStats { return transport.SessionStats{} }
func (c *collector) Close(context.Context) error {
	c.once.Do(func() { close(c.done) })
	return nil
}

func (c *collector) got() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.records)
}

// run makes a Fanout to collectors named a, b, c…, and starts it.
func run(t testing.TB, cfg Config, queue int, list ...*collector) *Fanout {
	t.Helper()
	var members []Collector
	for i, c := range list {
		e, err := export.New(export.Config{Dialer: c, Domain: 9, QueueBytes: queue, StatsInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, Collector{Name: string(rune('a' + i)), Exporter: e})
	}
	f, err := New(cfg, members)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Run(context.Background()) }) // Close ends it
	t.Cleanup(func() {
		closeFanout(f, time.Millisecond)
		wg.Wait()
		for _, c := range list {
			for _, fault := range c.faults {
				t.Error(fault)
			}
		}
	})
	return f
}

func closeFanout(f *Fanout, in time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), in)
	defer cancel()
	return f.Close(ctx)
}

// flow is a record of flowSpecs.
func flow(src, dst byte, sport, dport uint16, n uint64) []byte {
	b := []byte{10, 0, 0, src, 10, 0, 0, dst}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(b, 6)
	return binary.BigEndian.AppendUint64(b, n)
}

func flowSpecs() []ipfix.FieldSpec {
	var list []ipfix.FieldSpec
	for _, f := range [][2]uint16{{8, 4}, {12, 4}, {7, 2}, {11, 2}, {4, 1}, {1, 8}} {
		list = append(list, ipfix.FieldSpec{ID: ie.ID{Num: f[0]}, Length: f[1]})
	}
	return list
}

func define(t testing.TB, f *Fanout) *export.Template {
	t.Helper()
	p, err := f.Define(0, flowSpecs())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t testing.TB, f *Fanout, p *export.Template, n uint64) {
	t.Helper()
	for i := range n {
		if err := f.Write(t.Context(), p, flow(byte(i), byte(i>>8), uint16(i), 80, i)); err != nil {
			t.Fatal(err)
		}
	}
}
