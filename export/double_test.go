package export

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/transport"
)

// testSession is a transport.Session in memory. Its far end is a collector
// that decodes with the ipfix package, and insists on RFC 7011.
type testSession struct {
	props transport.Properties
	id    uint64

	mu       sync.Mutex
	max      int
	sendErr  func(i int) error // before the i-th message, from 0
	taken    int
	mute     bool // probes stay without answer
	noProbe  bool
	lastWord bool // the probe under way is answered right before the end
	deaf     bool // what is sent is lost
	forged   bool // hints of unreachability come all the time
	hints    uint64
	unread   int // octets since the last answered probe
	maxRead  int
	probes   uint64
	answered uint64
	err      error
	done     chan struct{}
	closing  sync.Once

	domains map[uint32]*testDomain
	order   []string // what came, in short
	times   []time.Time
	problem []string
}

type testDomain struct {
	templates map[uint16]*ipfix.Template
	next      uint32 // sequence number
	lost      uint32
	records   [][]byte // Data Records that are no options records
	options   []map[uint16]uint64
	scopes    []int
}

func newTestSession(id uint64, props transport.Properties, maxMessage int) *testSession {
	return &testSession{id: id, props: props, max: maxMessage, done: make(chan struct{}), domains: make(map[uint32]*testDomain)}
}

func (s *testSession) Send(ctx context.Context, batch []transport.Outgoing) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range batch {
		if ended(s) {
			return i, transport.ErrClosed
		}
		if len(m.Data) > s.max {
			return i, transport.ErrTooLarge
		}
		if s.sendErr != nil {
			if err := s.sendErr(s.taken); err != nil {
				return i, err
			}
		}
		s.taken++
		s.unread += len(m.Data)
		s.maxRead = max(s.maxRead, s.unread)
		if !s.deaf {
			s.receive(m.Data)
		}
	}
	return len(batch), nil
}

func (s *testSession) fault(text string) { s.problem = append(s.problem, text) }

func (s *testSession) receive(msg []byte) {
	h, err := ipfix.ParseHeader(msg)
	if err != nil || int(h.Length) != len(msg) {
		s.fault("bad header")
		return
	}
	if d := int64(h.ExportTime) - time.Now().Unix(); d < -1 || d > 0 {
		s.fault("export time is not now")
	}
	d := s.domains[h.Domain]
	if d == nil {
		d = &testDomain{templates: make(map[uint16]*ipfix.Template)}
		s.domains[h.Domain] = d
	}
	d.lost += h.Sequence - d.next
	d.next = h.Sequence
	s.times = append(s.times, time.Now())
	for set, err := range ipfix.Sets(msg) {
		if err != nil {
			s.fault(err.Error())
			return
		}
		if set.ID < ipfix.MinDataSetID {
			s.template(d, set)
			continue
		}
		t := d.templates[set.ID]
		if t == nil {
			s.fault("data before template")
			continue
		}
		var r ipfix.Records
		r.Reset(t, set.Body)
		for r.Next() {
			d.next++
			if t.Scope == 0 {
				s.order = append(s.order, "data")
				d.records = append(d.records, slices.Clone(r.Raw()))
				continue
			}
			s.order = append(s.order, "options")
			o := make(map[uint16]uint64)
			for i := range t.Fields {
				o[t.Fields[i].Num] = r.Value(i).Num
			}
			d.options = append(d.options, o)
			d.scopes = append(d.scopes, t.Scope)
		}
		if r.Err() != nil {
			s.fault(r.Err().Error())
		}
	}
}

func (s *testSession) template(d *testDomain, set ipfix.Set) {
	for rec, err := range ipfix.ParseTemplates(set.ID, set.Body) {
		if err != nil {
			s.fault(err.Error())
			return
		}
		if rec.Withdrawal() {
			s.order = append(s.order, "withdrawal")
			if !s.props.Reliable {
				s.fault("withdrawal on an unreliable transport")
			}
			if d.templates[rec.ID] == nil {
				s.fault("withdrawal of an unknown template")
			}
			delete(d.templates, rec.ID)
			continue
		}
		s.order = append(s.order, "template")
		t, err := ipfix.NewTemplate(rec.ID, rec.Scope, rec.Fields, ie.IANA())
		if err != nil {
			s.fault(err.Error())
			continue
		}
		if old := d.templates[rec.ID]; old != nil && !old.Equal(t) {
			s.fault("template redefined")
		}
		d.templates[rec.ID] = t
	}
}

func (s *testSession) MaxMessage() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.max
}

func (s *testSession) Properties() transport.Properties { return s.props }

func (s *testSession) Peer() transport.Peer {
	return transport.Peer{Identity: "collector", Session: s.id, Remote: netip.MustParseAddrPort("127.0.0.1:4740"), Resumed: s.id > 1}
}

func (s *testSession) Probe(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes++
	if s.noProbe {
		return transport.ErrNoProbe
	}
	for first := true; first || s.mute; first = false {
		over := false
		s.mu.Unlock()
		select {
		case <-time.After(time.Millisecond):
		case <-s.done:
			over = true
		case <-ctx.Done():
			if over = isDone(s.done); !over {
				s.mu.Lock()
				return ctx.Err()
			}
		}
		s.mu.Lock()
		if over && !s.lastWord {
			return transport.ErrClosed
		} else if over {
			break
		}
	}
	s.answered++
	s.unread = 0
	return nil
}

func (s *testSession) Done() <-chan struct{} { return s.done }

func (s *testSession) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail ends the session from the far side.
func (s *testSession) fail(err error) {
	s.closing.Do(func() {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		close(s.done)
	})
}

func (s *testSession) Close(context.Context) error {
	s.fail(nil)
	return nil
}

func (s *testSession) Stats() transport.SessionStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forged {
		s.hints++
	}
	return transport.SessionStats{UnreachableHints: s.hints, ProbesSent: s.probes, ProbesAnswered: s.answered}
}

var errRefused = errors.New("connection refused")

// testDialer hands out sessions in order; nil is an attempt that fails. When
// there are no more it goes on failing.
type testDialer struct {
	mu    sync.Mutex
	next  []*testSession
	dials []time.Time
}

func (d *testDialer) Dial(context.Context) (transport.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials = append(d.dials, time.Now())
	if len(d.next) == 0 {
		return nil, errRefused
	}
	s := d.next[0]
	d.next = d.next[1:]
	if s == nil {
		return nil, errRefused
	}
	return s, nil
}

var (
	udpLike  = transport.Properties{Streams: 1}
	dtlsLike = transport.Properties{Secure: true, Streams: 1, Confirms: transport.ConfirmProcess}
	tcpLike  = transport.Properties{Reliable: true, Ordered: true, Stream: true, Streams: 1, Confirms: transport.ConfirmTransport}
)

// flowSpecs make a record of 16 octets: packets, then octets.
var flowSpecs = []ipfix.FieldSpec{{ID: ie.ID{Num: 2}, Length: 8}, {ID: ie.ID{Num: 1}, Length: 8}}

// flowRecord has n as its packet and 100 n as its octet count.
func flowRecord(n int) []byte {
	b := make([]byte, 16)
	for i := range 8 {
		b[7-i] = byte(n >> (8 * i))
		b[15-i] = byte(100 * n >> (8 * i))
	}
	return b
}

func numbers(d *testDomain) []int {
	var out []int
	if d == nil {
		return nil
	}
	for _, r := range d.records {
		n := 0
		for _, c := range r[:8] {
			n = n<<8 | int(c)
		}
		out = append(out, n)
	}
	return out
}

func upTo(first, last int) []int {
	var out []int
	for i := first; i <= last; i++ {
		out = append(out, i)
	}
	return out
}

// atLeastOnce checks that records 1 to n came on the sessions, and that those
// that came again are what the Exporter says it replayed.
func atLeastOnce(t *testing.T, n int, sum Summary, sessions ...*testSession) {
	t.Helper()
	came := make(map[int]int)
	again := uint64(0)
	for _, s := range sessions {
		check(t, s)
		for _, i := range numbers(s.domains[0]) {
			if came[i]++; came[i] > 1 {
				again++
			}
		}
	}
	missing := 0
	for i := 1; i <= n; i++ {
		if came[i] == 0 {
			missing++
		}
	}
	if missing > 0 || len(came) != n {
		t.Errorf("%d of %d records missing, %d came", missing, n, len(came))
	}
	if sum.RecordsSent != uint64(n) || again > sum.RecordsReplayed {
		t.Errorf("%d records came again: %+v", again, sum)
	}
}

// running is an Exporter under test.
type running struct {
	*Exporter
	t    *testing.T
	tmpl *Template
	res  chan error
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := e.Define(0, flowSpecs)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{e, t, tmpl, make(chan error, 1)}
	go func() { r.res <- e.Run(t.Context()) }()
	return r
}

func (r *running) write(first, last int) {
	r.t.Helper()
	for i := first; i <= last; i++ {
		if err := r.Write(r.t.Context(), r.tmpl, flowRecord(i)); err != nil {
			r.t.Fatalf("record %d: %v", i, err)
		}
	}
}

func (r *running) close(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	err := r.Close(ctx)
	if res := <-r.res; !errors.Is(res, err) {
		r.t.Errorf("Run returned %v, Close %v", res, err)
	}
	return err
}
