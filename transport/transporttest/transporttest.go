// Package transporttest is what tests of transports have in common: messages
// that can be told apart, a Handler that keeps what its sessions bring, and an
// authority with certificates for both ends.
package transporttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ipfixsuite/pki"
	"ipfixsuite/transport"
	"ipfixsuite/transport/credentials"
)

// Message is an IPFIX Message of n octets, 16 at least, that can be told from
// others by its number.
func Message(n, number int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint16(b, 10)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint32(b[8:], uint32(number))
	for i := 16; i < n; i++ {
		b[i] = byte(number + i)
	}
	return b
}

// Sink is a Handler that keeps what its sessions bring.
type Sink struct {
	Refuse error // what Open answers
	Opened chan *Received
}

// NewSink makes one.
func NewSink() *Sink { return &Sink{Opened: make(chan *Received, 4096)} }

// Open implements transport.Handler.
func (k *Sink) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	if k.Refuse != nil {
		return nil, k.Refuse
	}
	r := &Received{Peer: p, Properties: props, Over: make(chan error, 1), more: make(chan struct{}, 1)}
	k.Opened <- r
	return r, nil
}

// Received is one session at the collector's end.
type Received struct {
	Peer       transport.Peer
	Properties transport.Properties
	Over       chan error // what Closed was told

	more     chan struct{}
	mu       sync.Mutex
	got      [][]byte
	stalled  bool
	barriers []func()
}

// Message implements transport.Receiver.
func (r *Received) Message(m transport.Incoming) {
	r.mu.Lock()
	r.got = append(r.got, bytes.Clone(m.Data))
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// Barrier implements transport.Receiver: it is answered at once, unless the
// session is stalled.
func (r *Received) Barrier(done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stalled {
		r.barriers = append(r.barriers, done)
		return
	}
	go done()
}

// Closed implements transport.Receiver.
func (r *Received) Closed(reason error) { r.Over <- reason }

// Stall keeps barriers waiting, or lets them go.
func (r *Received) Stall(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = on
	if !on {
		for _, done := range r.barriers {
			done()
		}
		r.barriers = nil
	}
}

// Waiting is how many barriers wait.
func (r *Received) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.barriers)
}

// Messages are those that have come; it waits until there are n.
func (r *Received) Messages(t testing.TB, n int) [][]byte {
	t.Helper()
	for {
		r.mu.Lock()
		got := r.got
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		Wait(t, r.more, "a message")
	}
}

// Wait waits for what a channel brings.
func Wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s after 20 s", what)
		panic("unreachable")
	}
}

// Send hands messages over, however long that takes.
func Send(t testing.TB, s transport.Session, batch ...transport.Outgoing) {
	t.Helper()
	for len(batch) > 0 {
		n, err := s.Send(t.Context(), batch)
		batch = batch[n:]
		if err != nil && !errors.Is(err, transport.ErrBusy) {
			t.Fatal(err)
		}
	}
}

// Authority is the folder of a CA with certificates for collector, exporter and
// other.
type Authority string

// NewAuthority makes one.
func NewAuthority(t testing.TB) Authority {
	t.Helper()
	dir := t.TempDir()
	if err := pki.Init(dir, pki.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"collector", "exporter", "other"} {
		if err := pki.Issue(dir, name, []string{"127.0.0.1"}, pki.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return Authority(dir)
}

// File is the path of one of its files.
func (a Authority) File(name string) string { return filepath.Join(string(a), name) }

// Config names the files of a certificate; allow bounds whom it lets in.
func (a Authority) Config(name string, allow ...string) credentials.Config {
	return credentials.Config{CertFile: a.File(name + ".pem"), KeyFile: a.File(name + "-key.pem"), CAFile: a.File("ca.pem"), Allow: allow}
}

// Credentials loads them.
func (a Authority) Credentials(t testing.TB, name string, allow ...string) *credentials.Credentials {
	t.Helper()
	c, err := credentials.Load(a.Config(name, allow...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
