package sctp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/dtls/record"
)

// secureOne is an established session under DTLS.
func secureOne(t *testing.T, edit ...func(*sink)) (s *session, got *sunk, l *serving, client, server *memory) {
	t.Helper()
	collector, exporter := mutual(t)
	client, server = memoryPair(listed, listed)
	l = serve(t, collector, edit...)
	s = connect(t, l, exporter, client, server)
	got = l.session(t)
	// Open is told of a session before it receives.
	until(t, "the session to receive", func() bool {
		for _, in := range l.living() {
			in.pump.mu.Lock()
			defer in.pump.mu.Unlock()
			return in.pump.to == consumer(in)
		}
		return false
	})
	return s, got, l, client, server
}

func typeOf(m sentMessage) record.Type { return record.Type(m.Data[0]) }

// TestSecure_KeySwitch_RFC6083_4_8 looks at what a handshake and a session sent
// and under which key.
func TestSecure_KeySwitch_RFC6083_4_8(t *testing.T) {
	s, got, l, client, server := secureOne(t)
	big := out(5, strings.Repeat("x", record.MaxContent))
	send(t, s, out(3, "data"), big)
	expect(t, got, out(3, "data"), big)
	if err := ask(t, s); err != nil {
		t.Fatal(err)
	}
	if err := closeSession(t, s); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, got.closed, "end"); err != nil {
		t.Errorf("collector's end: %v", err)
	}
	for _, end := range []*memory{client, server} {
		log := end.seen()
		finished := false
		for i, m := range log {
			rec := fmt.Sprintf("%v record %d of type %d, key %d", end.addr, i, typeOf(m), m.key)
			// One record in a message (RFC 6083, Section 4.1, MUST).
			if _, _, rest, ok := record.Next(m.Data, 0); !ok || len(rest) > 0 {
				t.Errorf("%s: not one record", rec)
			}
			data := typeOf(m) == record.ApplicationData
			// What is no data is on stream 0, ordered, reliable (Section 4.4, MUST).
			if !data && (m.Stream != 0 || m.Unordered || m.Lifetime != 0) {
				t.Errorf("%s: stream %d", rec, m.Stream)
			}
			if m.PPID != 0 {
				t.Errorf("%s: PPID %d", rec, m.PPID)
			}
			// The key changes behind ChangeCipherSpec and before Finished (Section 4.8,
			// MUST), and ChangeCipherSpec and close_notify find everything before
			// them acknowledged (Sections 4.7 and 4.9, MUST).
			wantKey := uint16(0)
			if finished {
				wantKey = 1
			}
			if m.key != wantKey {
				t.Errorf("%s: want key %d", rec, wantKey)
			}
			if typeOf(m) == record.ChangeCipherSpec {
				finished = true
			}
			if (typeOf(m) == record.ChangeCipherSpec || typeOf(m) == record.Alert) && !m.drained {
				t.Errorf("%s: something is under way", rec)
			}
		}
		if !finished || typeOf(log[len(log)-1]) != record.Alert {
			t.Errorf("%v ended with type %d", end.addr, typeOf(log[len(log)-1]))
		}
		// The old key is gone (Section 4.8).
		if _, there := end.keys[0]; there || len(end.keys[1]) != 64 {
			t.Errorf("keys %v", end.keys)
		}
	}
	if !bytes.Equal(client.keys[1], server.keys[1]) {
		t.Error("the keys differ")
	}
	if p := s.Properties(); !p.Secure || p.Confirms != transport.ConfirmProcess || p != got.props {
		t.Errorf("properties %+v and %+v", p, got.props)
	}
	if s.Peer().Identity != "collector.test" || got.peer.Identity != "exporter.test" || s.Peer().Scheme != "dtls+sctp" {
		t.Errorf("peers %+v and %+v", s.Peer(), got.peer)
	}
	if st := l.Stats(); st.HandshakesStarted != 1 || st.HandshakesFailed != 0 || st.ProbesAnswered != 1 || len(st.Dropped) != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A peer that does not list DATA is not talked to at all (RFC 6083, Section
// 4.5).
func TestSecure_NoAuth_RFC6083_4_5(t *testing.T) {
	collector, exporter := mutual(t)
	for _, chunks := range [][]byte{nil, {ChunkForwardTSN}} {
		client, server := memoryPair(listed, chunks)
		d := &Dialer{Config: exporter, Connect: func(context.Context) (Association, error) { return client, nil }}
		if _, err := d.Dial(t.Context()); !errors.Is(err, errNoAuth) {
			t.Errorf("%v", err)
		}
		if len(client.seen()) > 0 {
			t.Error("something was said")
		}
		receive(t, server.over, "abort")

		client, server = memoryPair(chunks, listed)
		l := serve(t, collector)
		l.acceptor.offered <- server
		receive(t, client.over, "abort")
		until(t, "count", func() bool { return l.Stats().Dropped["no-sctp-auth"] == 1 })
		if err := l.stop(); err != nil || l.half != 0 || l.all != 0 || len(server.seen()) > 0 {
			t.Errorf("%v, half-open %d of %d", err, l.half, l.all)
		}
	}
}

// Without authenticated FORWARD-TSN nothing is given up (RFC 6083, Section
// 4.5, MUST).
func TestSecure_NoAuthenticForwardTSN_RFC6083_4_5(t *testing.T) {
	collector, exporter := mutual(t)
	exporter.Lifetime = time.Second
	for _, c := range []struct {
		chunks []byte
		want   time.Duration
	}{{listed, time.Second}, {[]byte{ChunkData}, 0}} {
		client, server := memoryPair(listed, c.chunks)
		l := serve(t, collector)
		s := connect(t, l, exporter, client, server)
		send(t, s, transport.Outgoing{Data: []byte("x"), Unreliable: true})
		log := client.seen()
		if got := log[len(log)-1].Lifetime; got != c.want {
			t.Errorf("chunks % x: lifetime %v", c.chunks, got)
		}
	}
}

// Whatever of a message is not as RFC 6083 has it ends the association:
// SCTP-AUTH let it pass, so the peer itself made it.
func TestSecure_Violations_RFC6083_4(t *testing.T) {
	seal := func(s *session, typ record.Type, content string) []byte {
		b, err := s.tls.sealer.Seal(nil, typ, []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name string
		make func(s *session) Message
		want error
	}{
		{"two records", func(s *session) Message {
			return Message{Stream: 1, Data: append(seal(s, record.ApplicationData, "a"), seal(s, record.ApplicationData, "b")...)}
		}, errRecord},
		{"no record", func(*session) Message { return Message{Data: []byte("version 10 in the clear")} }, errRecord},
		{"empty", func(*session) Message { return Message{Data: []byte{0}} }, errRecord},
		{"alert beside stream 0", func(s *session) Message { return Message{Stream: 1, Data: seal(s, record.Alert, "\x01\x00")} }, errStray},
		{"unordered alert", func(s *session) Message { return Message{Unordered: true, Data: seal(s, record.Alert, "\x01\x00")} }, errStray},
		{"altered", func(s *session) Message {
			b := seal(s, record.ApplicationData, "a")
			b[len(b)-1] ^= 1
			return Message{Data: b}
		}, record.ErrMAC},
		{"epoch 0", func(*session) Message {
			return Message{Data: []byte{23, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 'x'}}
		}, record.ErrEpoch},
		{"renegotiation", func(s *session) Message { return Message{Data: seal(s, record.Handshake, "\x01hello")} }, errUnexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, got, l, _, server := secureOne(t)
			server.inject(c.make(s))
			if err := receive(t, got.closed, "end"); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			receive(t, s.Done(), "end of the session")
			if lost, ok := errors.AsType[*LostError](s.Err()); !ok || !lost.Aborted {
				t.Errorf("the exporter's end: %v", s.Err())
			}
			if len(got.got) > 0 {
				t.Error("it was delivered")
			}
			if st := l.Stats().Dropped; st["bad-record"] != 1 {
				t.Errorf("dropped %v", st)
			}
		})
	}
	t.Run("at the exporter", func(t *testing.T) {
		s, _, _, client, _ := secureOne(t)
		client.inject(Message{Data: append([]byte{23, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40}, make([]byte, 40)...)})
		receive(t, s.Done(), "end of the session")
		if !errors.Is(s.Err(), record.ErrMAC) {
			t.Errorf("%v", s.Err())
		}
	})
}

// The same record twice is two messages: SCTP itself delivers none twice (RFC
// 6083, Section 3.3, MUST NOT detect replays).
func TestSecure_NoReplayDetection_RFC6083_3_3(t *testing.T) {
	s, got, _, _, server := secureOne(t)
	b, err := s.tls.sealer.Seal(nil, record.ApplicationData, []byte("again"))
	if err != nil {
		t.Fatal(err)
	}
	server.inject(Message{Stream: 2, Data: bytes.Clone(b)})
	server.inject(Message{Stream: 2, Data: bytes.Clone(b)})
	expect(t, got, out(2, "again"), out(2, "again"))
}

// A fatal alert ends the session.
func TestSecure_FatalAlert(t *testing.T) {
	s, got, l, _, _ := secureOne(t)
	for _, in := range l.living() {
		_ = in.turn.take(t.Context())
		_ = in.sendRecord(t.Context(), record.Alert, []byte{2, 49})
		in.turn.give()
	}
	receive(t, s.Done(), "end of the session")
	if alert, ok := errors.AsType[*dtls.AlertError](s.Err()); !ok || alert.Code != 49 {
		t.Errorf("%v", s.Err())
	}
	receive(t, got.closed, "end")
}

// SHUTDOWN without close_notify, as the kernel of a process sends it that was
// killed, is no orderly end, to either side (RFC 5246, Section 7.2.1).
func TestSecure_Truncated_RFC5246_7_2_1(t *testing.T) {
	s, got, _, _, server := secureOne(t)
	_ = server.Shutdown() // it may end at once
	receive(t, s.Done(), "end of the session")
	if !errors.Is(s.Err(), errTruncated) {
		t.Errorf("the exporter is told %v", s.Err())
	}
	receive(t, got.closed, "end")

	_, got, l, client, _ := secureOne(t)
	_ = client.Shutdown() // it may end at once
	if err := receive(t, got.closed, "end"); !errors.Is(err, errTruncated) {
		t.Errorf("the collector is told %v", err)
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}

// Data and heartbeats that are here before the handshake has ended are the
// session's (RFC 6083, Section 4.7, MUST), however many.
func TestSecure_EarlyData_RFC6083_4_7(t *testing.T) {
	collector, exporter := mutual(t)
	client, server := memoryPair(listed, listed)
	slow := make(chan struct{})
	l := serve(t, collector, func(k *sink) { k.slow = slow })
	s := connect(t, l, exporter, client, server)
	const many = maxEarly * 3
	for i := range many {
		send(t, s, out(uint16(i%memoryStreams), fmt.Sprint(i)))
	}
	close(slow)
	got := l.session(t)
	for i := range many {
		expect(t, got, out(uint16(i%memoryStreams), fmt.Sprint(i)))
	}
}
