package collect

import "ipfixsuite/record"

const (
	// handOver is how much is worth waking the sink for before a flush: waking
	// another processor costs more than what it does with a few messages.
	handOver = 256 << 10
	// trayOctets is what waits for a sink that goes on, so that it is in the
	// processor's cache when its turn comes; trayLimit what waits for one
	// whose call takes its time, as disks do now and then.
	trayOctets = 512 << 10
	trayLimit  = 4 << 20
	// octetsPerBatch bounds small batches.
	octetsPerBatch = 64
)

// A tray has batches on their way to a sink, copied out of the messages that
// they came in.
type tray struct {
	parcels []parcel
	octets  []byte
}

// A parcel is one batch; its body is the next size octets of the tray.
type parcel struct {
	from    *receiver
	meta    record.Meta
	batch   record.Batch // without what is elsewhere
	size    int
	control bool
}

// takes reports whether a body of n octets fits within the limit.
func (t *tray) takes(n, limit int) bool {
	return len(t.parcels) == 0 || len(t.octets)+n <= limit && len(t.parcels) < limit/octetsPerBatch
}

func (t *tray) add(r *receiver, b *record.Batch, control bool) {
	t.parcels = append(t.parcels, parcel{from: r, meta: *b.Meta, batch: *b, size: len(b.Body), control: control})
	p := &t.parcels[len(t.parcels)-1].batch
	p.Meta, p.Body = nil, nil
	t.octets = append(t.octets, b.Body...)
}

// each calls f with every batch; it is valid during the call.
func (t *tray) each(f func(r *receiver, b *record.Batch, control bool)) {
	rest := t.octets
	for i := range t.parcels {
		p := &t.parcels[i]
		p.batch.Meta = &p.meta
		p.batch.Body, rest = rest[:p.size:p.size], rest[p.size:]
		f(p.from, &p.batch, p.control)
	}
}

// reset empties the tray. What a burst made it is given back.
func (t *tray) reset() {
	if cap(t.octets) > 2*trayOctets || cap(t.parcels) > 2*trayOctets/octetsPerBatch {
		*t = tray{}
		return
	}
	clear(t.parcels)
	t.parcels, t.octets = t.parcels[:0], t.octets[:0]
}
