package sctp

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls"
)

// Both sides say why they do not let the other in, and nothing is left.
func TestSecure_Refusals(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	collector := SessionConfig{DTLS: &dtls.Config{Credentials: a.issue(t, "collector.test", func(c *credentials.Config) { c.Allow = []string{"exporter.test"} })}}
	for _, c := range []struct {
		name  string
		creds *credentials.Credentials
		as    string
		want  string
	}{
		{"unknown authority", other.issue(t, "exporter.test"), "collector.test", "not issued by an authority"},
		{"an authority unknown to the collector", trusting(t, other, a, "exporter.test"), "collector.test", "unknown certificate authority"},
		{"another name", a.issue(t, "elsewhere.test"), "collector.test", "access denied"},
		{"the collector's name", a.issue(t, "exporter.test"), "another.test", "another.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := memoryPair(listed, listed)
			l := serve(t, collector)
			l.acceptor.offered <- server
			d := &Dialer{
				Config:  SessionConfig{DTLS: &dtls.Config{Credentials: c.creds, ServerName: c.as}},
				Connect: func(context.Context) (Association, error) { return client, nil },
			}
			_, err := d.Dial(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			until(t, "count", func() bool { return l.Stats().HandshakesFailed == 1 })
			if err := l.stop(); err != nil || l.half != 0 || l.all != 0 || len(l.sink.opened) > 0 {
				t.Errorf("%v, %d half-open, %d in all", err, l.half, l.all)
			}
			receive(t, server.over, "end")
		})
	}
}

// A handshake has an end, whatever the peer does.
func TestSecure_HandshakeTimeout(t *testing.T) {
	collector, _ := mutual(t)
	collector.DTLS.HandshakeTimeout = 50 * time.Millisecond
	l := serve(t, collector)
	client, server := memoryPair(listed, listed)
	l.acceptor.offered <- server
	receive(t, client.over, "end")
	until(t, "end of the handshake", func() bool { return l.Stats().HandshakesFailed == 1 })
}

// Handshakes under way are bounded, and do not outlive their listener.
func TestSecure_HalfOpen(t *testing.T) {
	collector, exporter := mutual(t)
	collector.DTLS.HandshakeTimeout = time.Hour
	collector.DTLS.MaxHalfOpen, collector.DTLS.MaxHalfOpenPerPrefix = 3, 2
	l := serve(t, collector)
	// An association that lives is none of them.
	living, server := memoryPair(listed, listed)
	s := connect(t, l, exporter, living, server)
	got := l.session(t)
	offer := func(addr string) *memory {
		client, server := memoryPair(listed, listed)
		client.addr = addrPort(addr)
		l.acceptor.offered <- server
		return client
	}
	clients := []*memory{offer("198.51.100.1:1"), offer("198.51.100.2:1")}
	refused := func(c *memory, n uint64) {
		t.Helper()
		receive(t, c.over, "refusal")
		if st := l.Stats(); st.HandshakesLimited != n || st.Dropped["half-open-limit"] != n {
			t.Errorf("stats %+v", st)
		}
	}
	refused(offer("198.51.100.3:1"), 1) // a third of that network
	clients = append(clients, offer("203.0.113.1:1"))
	refused(offer("233.252.0.1:1"), 2) // a fourth in all
	send(t, s, out(1, "untouched"))
	expect(t, got, out(1, "untouched"))
	if err := ask(t, s); err != nil {
		t.Errorf("probe: %v", err)
	}
	if st := l.Stats(); st.HandshakesStarted != 4 || st.HandshakesFailed != 0 {
		t.Errorf("stats %+v", st)
	}
	if err := closeSession(t, s); err != nil {
		t.Error(err)
	}
	if err := l.stop(); err != nil || l.half != 0 || l.all != 0 {
		t.Errorf("%v, %d half-open, %d in all", err, l.half, l.all)
	}
	for _, c := range clients {
		receive(t, c.over, "end")
	}
}

// Credentials that change end the sessions that they would not let in.
func TestSecure_CredentialsChange(t *testing.T) {
	a := newAuthority(t)
	h := &switched{now: a.issue(t, "collector.test"), changed: make(chan struct{})}
	l := serve(t, SessionConfig{DTLS: &dtls.Config{Credentials: h}})
	client, server := memoryPair(listed, listed)
	s := connect(t, l, SessionConfig{DTLS: &dtls.Config{Credentials: a.issue(t, "exporter.test"), ServerName: "collector.test"}}, client, server)
	got := l.session(t)
	h.set(a.issue(t, "collector2.test", func(c *credentials.Config) { c.Allow = []string{"exporter.test"} }))
	if err := ask(t, s); err != nil {
		t.Errorf("still let in: %v", err)
	}
	h.set(a.issue(t, "collector3.test", func(c *credentials.Config) { c.Allow = []string{"nobody.test"} }))
	if err := receive(t, got.closed, "end"); err == nil || !strings.Contains(err.Error(), "not let in") {
		t.Errorf("%v", err)
	}
	receive(t, s.Done(), "end of the session")
}

type switched struct {
	mu      sync.Mutex
	now     *credentials.Credentials
	changed chan struct{}
}

func (h *switched) Current() *credentials.Credentials {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *switched) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

func (h *switched) set(c *credentials.Credentials) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = c
	close(h.changed)
	h.changed = make(chan struct{})
}

// trusting are credentials of one authority that trust another.
func trusting(t *testing.T, of, others *authority, name string) *credentials.Credentials {
	return of.issue(t, name+"-2", func(c *credentials.Config) { c.CAFile = others.dir + "/ca.pem" })
}
