package collect

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/record"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

const (
	// advanceEvery is how often a session looks after what has its time.
	advanceEvery = time.Second
	// idleDomain is after what time without a message a domain may make room
	// for another.
	idleDomain = time.Minute
	// heldPatience is how long a barrier waits for the Templates of data that
	// came before it. An exporter of ours has repeated a Template twice by
	// then; whose Templates never come must be answered all the same.
	heldPatience = 5 * time.Second
)

// A receiver is one Transport Session at the Collecting Process.
type receiver struct {
	c        *Collector
	peer     transport.Peer
	props    transport.Properties
	exporter *exporter
	opened   time.Time
	broken   atomic.Bool // a sink lost records of this session
	closed   atomic.Bool
	snap     atomic.Pointer[SessionSnapshot] // of the last time there was peace

	mu       sync.Mutex
	store    *templates.Store
	domains  map[uint32]*domain
	last     *domain
	n        Counters
	past     SequenceStats // of domains that are forgotten
	faults   map[string]uint64
	advanced time.Time
	full     time.Time // until then there is no room for another domain
	// refreshed is when the repetition of a Template was noted last.
	refreshed time.Time
	parked    []parked // barriers that wait for Templates
	perStream perStream

	// Of the message under way.
	meta     record.Meta
	batch    record.Batch
	msg      templates.Message
	dom      *domain
	seq      arrival
	bad      bool
	now      time.Time // by which what is logged is counted
	reader   ipfix.SetReader
	values   []ipfix.Value
	onChange func(templates.Change)
	onHeld   func(templates.Held)
	onExpiry func(*templates.Domain, templates.Held)
}

func newReceiver(c *Collector, p transport.Peer, props transport.Properties, e *exporter) *receiver {
	r := &receiver{
		c: c, peer: p, props: props, exporter: e, opened: c.now(),
		store: templates.NewStore(templates.StoreConfig{
			Registry: c.cfg.Registry,
			Reliable: props.Reliable,
			Lifetime: c.cfg.TemplateLifetime,
			HeldAge:  c.cfg.HeldAge,
			Limits:   c.cfg.SessionLimits,
		}, c.budget),
		domains:   make(map[uint32]*domain),
		perStream: newPerStream(props),
		meta:      record.Meta{Exporter: p.Identity, Session: p.Session},
	}
	r.onChange, r.onHeld, r.onExpiry = r.changed, r.released, r.expired
	return r
}

// Message implements transport.Receiver.
func (r *receiver) Message(m transport.Incoming) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n.Messages++
	r.n.Octets += uint64(len(m.Data))
	r.bad = false
	if m.Received.IsZero() {
		m.Received = r.c.now()
	}
	r.now = m.Received
	if m.Received.Sub(r.advanced) >= advanceEvery || m.Received.Before(r.advanced) {
		r.advance(m.Received)
	}
	r.message(m)
	if r.bad {
		r.n.Malformed++
	}
	if len(r.parked) > 0 {
		r.unpark()
	}
}

func (r *receiver) message(m transport.Incoming) {
	h, err := ipfix.ParseHeader(m.Data)
	if err != nil {
		r.headerFault(err, m)
		// What of a message cut short is there whole can be decoded.
		if h.Length < ipfix.HeaderLen {
			return
		}
	}
	d := r.domain(h.Domain, m.Received)
	if d == nil {
		r.n.MessagesRefused++
		return
	}
	if over := len(m.Data) - int(h.Length); over > 0 {
		r.n.TrailingOctets += uint64(over)
	}
	d.lastSeen = m.Received
	r.dom = d
	r.meta.Domain, r.meta.ExportTime = h.Domain, h.ExportTime
	r.msg = templates.Message{Now: m.Received, ExportTime: h.ExportTime, Sequence: h.Sequence, Stream: m.Stream}
	r.seq = arrival{number: h.Sequence, exportTime: h.ExportTime}

	r.reader.Reset(m.Data)
	for {
		set, ok := r.reader.Next()
		if !ok {
			break
		}
		switch {
		case set.ID >= ipfix.MinDataSetID:
			r.data(set)
		case set.ID == ipfix.TemplateSetID || set.ID == ipfix.OptionsTemplateSetID:
			r.n.TemplateSets++
			d.store.Templates(r.msg, set, r.onChange)
		default:
			// Not used, or kept for later (RFC 7011, Section 3.3.2).
			r.n.ReservedSets++
		}
	}
	if err := r.reader.Err(); err != nil {
		r.n.UnframedSets++
		r.seq.opaque++
		r.fault(err, "set")
	}
	if st := d.stream(m.Stream, r.fromZero()); st != nil {
		st.received += uint64(r.seq.records)
		if st.take(r.seq) {
			r.tellConvention(st.after)
		}
		r.perStreamMessage(m, st)
	}
	// What was received stays with the transport.
	r.reader = ipfix.SetReader{}
	r.batch = record.Batch{}
}

// fromZero: on a session that begins with a handshake its first message is
// seen, or missed.
func (r *receiver) fromZero() bool { return r.props.Secure || r.props.Reliable || r.props.Stream }

// domain finds or makes the state of an Observation Domain; nil if there are
// too many.
func (r *receiver) domain(id uint32, now time.Time) *domain {
	if d := r.last; d != nil && d.store.ID() == id {
		return d
	}
	d := r.domains[id]
	if d == nil {
		sd := r.store.Domain(id)
		if sd == nil && !now.Before(r.full) {
			if r.makeRoom(now) {
				sd = r.store.Domain(id)
			} else {
				r.full = now.Add(advanceEvery)
			}
		}
		if sd == nil {
			return nil
		}
		d = &domain{store: sd}
		r.domains[id] = d
	}
	r.last = d
	return d
}

// makeRoom forgets the domain heard of least recently, if that is some time
// ago: a flood of domains does not displace those in use.
func (r *receiver) makeRoom(now time.Time) bool {
	var oldest *domain
	for _, d := range r.domains {
		if now.Sub(d.lastSeen) >= idleDomain && (oldest == nil || d.lastSeen.Before(oldest.lastSeen)) {
			oldest = d
		}
	}
	if oldest == nil || r.props.Reliable && oldest.store.Len() > 0 {
		return false
	}
	r.forget(oldest)
	return true
}

func (r *receiver) forget(d *domain) {
	r.store.Drop(d.store, r.onExpiry)
	d.settle()
	sum := d.sequence()
	r.past.add(&sum)
	delete(r.domains, d.store.ID())
	if r.last == d {
		r.last = nil
	}
}

// data takes a Data Set.
func (r *receiver) data(set ipfix.Set) {
	t := r.dom.store.Lookup(set.ID)
	if r.perStream.state != perStreamNever && len(set.Body) > 0 {
		r.perStreamData(set.ID, t)
	}
	if t != nil {
		r.n.DataSets++
		r.seq.records += r.deliver(t, set.Body, set.BodyOffset())
		return
	}
	r.n.EarlySets++
	if r.dom.store.Hold(r.msg, set) {
		r.seq.held++
		return
	}
	r.n.UndecodableSets++
	r.seq.opaque++
}

// deliver decodes a Data Set and gives its records to the sinks; at is where
// they start in their message. A set that cannot be decoded to its end counts
// as opaque, the records before stand.
func (r *receiver) deliver(t *ipfix.Template, body []byte, at int) uint32 {
	n, err := ipfix.CountRecords(t, body)
	if err != nil {
		r.n.FaultySets++
		r.seq.opaque++
		r.fault(ipfix.At(err, at), "record")
		body = whole(t, body)
	}
	if n == 0 {
		if err == nil {
			r.n.EmptySets++
		}
		return 0
	}
	b := &r.batch
	b.Meta, b.Template, b.Body, b.Records = &r.meta, t, body, n
	b.Lists, b.Registry = nil, r.dom.store.Registry()
	if t.Refers { // sinks look while others change the Templates
		b.Lists = r.dom.store.Frozen()
	}
	if t.Options() {
		r.seq.options += uint32(n)
		if k := ControlOf(t); k != NoControl {
			r.n.ControlRecords += uint64(n)
			r.interpret(k, t, body)
			r.c.write(r, b, true)
			return uint32(n)
		}
	}
	r.n.Records += uint64(n)
	r.c.write(r, b, false)
	return uint32(n)
}

// whole is the part of body that holds whole records.
func whole(t *ipfix.Template, body []byte) []byte {
	var rs ipfix.Records
	for rs.Reset(t, body); rs.Next(); {
	}
	return body[:len(body)-len(rs.Rest())]
}

// changed is told of each template record.
func (r *receiver) changed(ch templates.Change) {
	r.n.TemplateRecords++
	r.noteTemplates(ch.Kind)
	if r.perStream.state != perStreamNever {
		r.perStreamTemplate(ch)
	}
	switch ch.Kind {
	case templates.Defined, templates.Redefined:
		r.noteUnknown(ch.Template)
		if ch.Err != nil {
			r.logTemplate("template redefined without a withdrawal", ch)
		}
		// Data that waited comes before what follows in this message.
		r.dom.store.Release(ch.ID, r.onHeld)
	case templates.Invalid:
		r.fault(ch.Err, "template")
	case templates.Refused:
		r.logTemplate("template refused", ch)
	case templates.UnknownWithdrawal:
		// To be told (RFC 7011, Section 8.1, SHOULD).
		r.logTemplate("withdrawal of an unknown template", ch)
	case templates.IgnoredWithdrawal:
		r.logTemplate("template withdrawal ignored on this transport", ch)
	}
}

// noteUnknown notes the elements that nothing is known of (RFC 7011, Section
// 9, MUST).
func (r *receiver) noteUnknown(t *ipfix.Template) {
	var first *ipfix.Field
	for i := range t.Fields {
		if f := &t.Fields[i]; f.Element == nil {
			r.n.UnknownElements++
			if first == nil {
				first = f
			}
		}
	}
	if first == nil || !r.c.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	if _, ok := r.allow(); ok {
		r.log().Debug("template with unknown elements", "template", t.ID, "first", ie.UnknownName(first.ID))
	}
}

// released takes a data set whose template has come.
func (r *receiver) released(h templates.Held) {
	t := r.dom.store.Lookup(h.ID)
	if t == nil {
		return
	}
	r.n.ReleasedSets++
	now, opaque, options := r.meta.ExportTime, r.seq.opaque, r.seq.options
	r.meta.ExportTime = h.Message.ExportTime
	n := r.deliver(t, h.Body, h.Offset+ipfix.SetHeaderLen)
	// The account is that of the message it was in.
	decoded := r.seq.opaque == opaque
	r.meta.ExportTime, r.seq.opaque, r.seq.options = now, opaque, options
	r.resolved(r.dom, &h, n, decoded)
}

// resolved settles a held set with the sequence numbers.
func (r *receiver) resolved(d *domain, h *templates.Held, n uint32, decoded bool) {
	if h.Message == r.msg && r.seq.held > 0 {
		// Its template came behind it in the same message, which is not
		// accounted yet.
		r.seq.held--
		r.seq.records += n
		if !decoded {
			r.seq.opaque++
		}
		return
	}
	if st := d.stream(h.Message.Stream, r.fromZero()); st != nil {
		st.received += uint64(n)
		st.resolved(h.Message.Sequence, n, decoded)
	}
}

// expired takes a data set that will not be decoded any more.
func (r *receiver) expired(sd *templates.Domain, h templates.Held) {
	r.n.UndecodableSets++
	if d := r.domains[sd.ID()]; d != nil {
		if st := d.stream(h.Message.Stream, r.fromZero()); st != nil {
			st.resolved(h.Message.Sequence, 0, false)
		}
	}
}

func (r *receiver) advance(now time.Time) {
	r.advanced = now
	r.store.Advance(now, r.onExpiry)
}

// Closed implements transport.Receiver.
func (r *receiver) Closed(reason error) { r.c.end(r, reason) }
