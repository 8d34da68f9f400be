package source

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"

	"ipfixsuite/capture"
	"ipfixsuite/export"
	"ipfixsuite/metering"
)

// shareEvery is the number of packets after which a meter's counters are
// copied for other goroutines to see.
const shareEvery = 1024

// meter is a Metering Process in front of an Exporter.
type meter struct {
	*base
	out  Exporter
	m    *metering.Meter
	wait bool // for room in the Exporter's queue; else drop and count

	templates map[metering.TemplateKind]*export.Template
	rec       []byte
	err       error // of the Exporter; no more is written

	packets, octets, records uint64 // since the last share
	ignored                  uint64
	report                   export.MeteringReport // guarded by base.mu
	drops                    func() uint64
}

func newMeter(ctx context.Context, b *base, out Exporter, wait bool) (*meter, error) {
	m := &meter{
		base:      b,
		out:       out,
		wait:      wait,
		templates: make(map[metering.TemplateKind]*export.Template),
		drops:     func() uint64 { return 0 },
	}
	cfg := b.cfg.Metering
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails
	cfg.Seed = [2]uint64{binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:])}
	m.m = metering.New(cfg, func(f *metering.Flow) { m.emit(ctx, f) })
	err := out.ReportMetering(func() export.MeteringReport {
		b.mu.Lock()
		defer b.mu.Unlock()
		return m.report
	})
	return m, err
}

// packet meters one packet as if it came at ns.
func (m *meter) packet(ns int64, p *capture.Packet) error {
	m.m.Packet(ns, metering.LinkType(p.Link), p.Data, p.Length, p.Interface)
	m.packets++
	m.octets += uint64(p.Length)
	if m.packets >= shareEvery {
		m.share(ns)
	}
	return m.err
}

// flowKeys are the elements that make a flow of metering.
var flowKeys = map[uint16]bool{
	4: true, 7: true, 8: true, 10: true, 11: true, 12: true, 27: true, 28: true,
	32: true, 139: true, 243: true, 245: true,
}

// template returns the Template of a kind of record, with its Flow Keys
// exported (RFC 7011, Section 4.4).
func (m *meter) template(kind metering.TemplateKind) (*export.Template, error) {
	if t := m.templates[kind]; t != nil {
		return t, nil
	}
	t, err := m.out.Define(0, metering.Specs(kind))
	if err != nil {
		return nil, err
	}
	var keys uint64
	for i := range min(len(t.Fields), 64) {
		if id := t.Fields[i].ID; id.PEN == 0 && flowKeys[id.Num] {
			keys |= 1 << i
		}
	}
	if err := m.out.FlowKeys(t, keys); err != nil {
		return nil, err
	}
	m.templates[kind] = t
	return t, nil
}

// emit takes a flow record from the meter.
func (m *meter) emit(ctx context.Context, f *metering.Flow) {
	if m.err != nil {
		return
	}
	t, err := m.template(f.Template())
	if err != nil {
		m.err = err
		return
	}
	m.rec = f.AppendRecord(m.rec[:0])
	if m.wait {
		err = m.out.Write(ctx, t, m.rec)
		if errors.Is(err, export.ErrTooLarge) {
			m.skip("flow record not written", err)
			return
		}
		m.err = err
	} else {
		m.out.Offer(t, m.rec)
	}
	m.records++
}

// share publishes the counters; ns is the packets' time.
func (m *meter) share(ns int64) {
	st := m.m.Stats()
	drops := m.drops()
	ignored := st.IgnoredPackets() + drops
	now := time.Unix(0, ns)
	m.count(func(s *Stats) {
		s.Packets += m.packets
		s.Octets += m.octets
		s.Records += m.records
		s.KernelDrops = drops
		s.Ignored = st.IgnoredPackets()
		r := &m.report
		// The octets of packets the kernel dropped are not known.
		r.IgnoredPackets, r.IgnoredOctets = ignored, st.IgnoredOctets
		if ignored > m.ignored {
			if r.First.IsZero() {
				r.First = now
			}
			r.Last = now
		}
	})
	m.packets, m.octets, m.records = 0, 0, 0
	m.ignored = ignored
	m.progress(time.Now())
}
