package tlsmux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"ipfixsuite/transport/tlsmux/core"
	"ipfixsuite/transport/tlsmux/wire"
)

// speaker is a second speaker of the draft, written from its text (and from
// spec.md where that leaves a choice) without any of the packages' code.
type speaker struct {
	t *testing.T
	c net.Conn
}

func (s speaker) send(b ...[]byte) {
	s.t.Helper()
	if _, err := s.c.Write(bytes.Join(b, nil)); err != nil {
		s.t.Fatal(err)
	}
}

func (s speaker) expect(want ...byte) {
	s.t.Helper()
	got := make([]byte, len(want))
	_ = s.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := io.ReadFull(s.c, got); err != nil || !bytes.Equal(got, want) {
		s.t.Fatalf("got % x (%v), want % x", got[:n], err, want)
	}
}

func u16(n int) []byte { return []byte{byte(n >> 8), byte(n)} }
func u32(n int) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

// establish is a ChannelEstablishmentRequest.
func establish(half, window, most int, src string, sport int, dst string, dport int) []byte {
	body := bytes.Join([][]byte{u16(half), u32(window), u32(most), u16(len(src)), []byte(src), u16(sport), u16(len(dst)), []byte(dst), u16(dport)}, nil)
	return append(append([]byte{1}, u16(len(body)+3)...), body...)
}

func plaintext(id []byte, data string) []byte {
	return bytes.Join([][]byte{{6}, u32(len(data)), id, []byte(data)}, nil)
}

func newSpeaker(t *testing.T, cfg Config) (speaker, *Mux) {
	t.Helper()
	c, d := net.Pipe()
	m := Server(d, cfg)
	t.Cleanup(func() {
		c.Close()
		m.Close()
	})
	return speaker{t, c}, m
}

func TestSecondSpeaker(t *testing.T) {
	s, m := newSpeaker(t, Config{Core: core.Config{Window: 100, MaxPacket: 60}})
	// It asks, is granted a channel, and both write.
	s.send(establish(5, 10, 4, "192.0.2.1", 999, "collector", 4740))
	s.expect(2, 0, 15, 0, 5, 0x80, 1, 0, 0, 0, 100, 0, 0, 0, 60)
	ch, err := m.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ch.RemoteAddr().String() != "192.0.2.1:999" || ch.LocalAddr().String() != "collector:4740" {
		t.Errorf("channel from %v to %v", ch.RemoteAddr(), ch.LocalAddr())
	}
	id := []byte{0, 5, 0x80, 1}
	if _, err := ch.Write([]byte("abcdefghijklmno")); err != nil {
		t.Fatal(err)
	}
	// At most 4 octets a packet, and 10 in all before more is granted.
	s.expect(plaintext(id, "abcd")...)
	s.expect(plaintext(id, "efgh")...)
	s.expect(plaintext(id, "ij")...)
	s.send([]byte{8, 0, 11}, id, u32(3))
	s.expect(plaintext(id, "klm")...)
	// A new maximum holds from then on.
	s.send([]byte{7, 0, 11}, id, u32(1))
	s.send([]byte{8, 0, 11}, id, u32(9))
	s.expect(plaintext(id, "n")...)
	s.expect(plaintext(id, "o")...)
	// Its data, in packets cut and joined at will; ours is freed as it is read.
	in := append(plaintext(id, "hello "), plaintext(id, "world")...)
	s.send(in[:3])
	s.send(in[3:20])
	s.send(in[20:])
	got := make([]byte, 11)
	if _, err := io.ReadFull(ch, got[:6]); err != nil {
		t.Fatal(err)
	}
	s.expect(append([]byte{8, 0, 11}, append(id, u32(6)...)...)...)
	if _, err := io.ReadFull(ch, got[6:]); err != nil || string(got) != "hello world" {
		t.Fatalf("%q, %v", got, err)
	}
	s.expect(append([]byte{8, 0, 11}, append(id, u32(5)...)...)...)
	// A second channel on the same session; the first is closed by us, which
	// it confirms.
	s.send(establish(6, 10, 4, "x", 1, "y", 2))
	s.expect(2, 0, 15, 0, 6, 0x80, 2, 0, 0, 0, 100, 0, 0, 0, 60)
	ch.Close()
	s.expect(append([]byte{4, 0, 7}, id...)...)
	s.send(plaintext(id, "late"), append([]byte{5, 0, 7}, id...))
	// It closes the second: confirmed at once.
	s.send([]byte{4, 0, 7, 0, 6, 0x80, 2})
	s.expect(5, 0, 7, 0, 6, 0x80, 2)
	// We ask; it refuses with a word.
	opened := make(chan error, 1)
	go func() {
		_, err := m.Open(t.Context(), here, there)
		opened <- err
	}()
	want := establish(0x8001, 100, 60, "a.example", 1, "b.example", 2)
	s.expect(want...)
	s.send([]byte{3, 0, 10, 0x80, 1, 0, 3}, []byte("bye"))
	if err := <-opened; err == nil || err.Error() != "channel refused: bye" {
		t.Errorf("Open: %v", err)
	}
	// A type that nobody knows is skipped.
	s.send([]byte{77, 0, 5, 1, 2}, establish(7, 10, 4, "x", 1, "y", 2))
	s.expect(2, 0, 15, 0, 7, 0x80, 3, 0, 0, 0, 100, 0, 0, 0, 60)
	if st := m.Stats(); st.Unknown != 1 || st.Violations != 0 || m.Tainted() {
		t.Errorf("stats %+v, tainted %v", st, m.Tainted())
	}
}

// spec.md, D4 and D14: addresses that are none, and the port that nothing has,
// are refused with a word; nobody is asked.
func TestSecondSpeaker_Addresses(t *testing.T) {
	s, _ := newSpeaker(t, Config{Takes: func(from, to wire.Address) error {
		t.Errorf("asked about %q and %q", from.Host, to.Host)
		return nil
	}})
	for i, row := range []struct {
		src, dst string
		port     int
		want     string
	}{
		{"a b", "c", 1, "an address that is none"},
		{"a", "c\x00", 1, "an address that is none"},
		{"a", "\xc3\xa4.example", 1, "an address that is none"},
		{"a", string(bytes.Repeat([]byte("c"), 256)), 1, "an address that is none"},
		{"a", "c", 0, "nothing listens on that port"},
	} {
		s.send(establish(i, 10, 4, row.src, 1, row.dst, row.port))
		s.expect(bytes.Join([][]byte{{3}, u16(7 + len(row.want)), u16(i), u16(len(row.want)), []byte(row.want)}, nil)...)
	}
}

// Section 3: a fault of a channel ends the channel, not the session.
func TestSecondSpeaker_Faults(t *testing.T) {
	id := []byte{0, 5, 0x80, 1}
	for _, row := range []struct {
		name string
		bad  []byte
	}{
		{"packet above the maximum", plaintext(id, string(make([]byte, 61)))},
		{"window overrun", bytes.Repeat(plaintext(id, string(make([]byte, 60))), 2)},
		{"packet of a gigabyte, announced", append([]byte{6}, append(u32(1<<30), id...)...)},
		{"window beyond 2^32-1", append([]byte{8, 0, 11}, append(id, 0xff, 0xff, 0xff, 0xff)...)},
		{"maximum of 0", append([]byte{7, 0, 11}, append(id, 0, 0, 0, 0)...)},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, m := newSpeaker(t, Config{Core: core.Config{Window: 100, MaxPacket: 60}})
			s.send(establish(4, 10, 4, "x", 1, "y", 2), establish(5, 10, 4, "x", 1, "y", 2))
			s.expect(2, 0, 15, 0, 4, 0x80, 1, 0, 0, 0, 100, 0, 0, 0, 60)
			s.expect(2, 0, 15, 0, 5, 0x80, 2, 0, 0, 0, 100, 0, 0, 0, 60)
			good, err := m.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ch, err := m.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ch.Hold()
			bad := bytes.ReplaceAll(row.bad, id, []byte{0, 5, 0x80, 2})
			s.send(bad)
			s.expect(4, 0, 7, 0, 5, 0x80, 2)
			for err = nil; err == nil; {
				_, err = ch.Read(make([]byte, 100))
			}
			if errors.Is(err, io.EOF) {
				t.Error("the reader is not told of the fault")
			}
			if !m.Tainted() || m.Stats().Violations != 1 {
				t.Errorf("tainted %v, %+v", m.Tainted(), m.Stats())
			}
			if row.bad[0] == 6 && len(row.bad) == 9 {
				return // what follows belongs to the gigabyte
			}
			s.send(plaintext([]byte{0, 4, 0x80, 1}, "fine"))
			got := make([]byte, 4)
			if _, err := io.ReadFull(good, got); err != nil || string(got) != "fine" {
				t.Errorf("other channel: %q, %v", got, err)
			}
		})
	}
	t.Run("lost synchronisation", func(t *testing.T) {
		s, m := newSpeaker(t, Config{})
		s.send([]byte{2, 0, 1})
		select {
		case <-m.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("the session goes on")
		}
		if m.Err() == nil || !m.Tainted() {
			t.Errorf("%v, tainted %v", m.Err(), m.Tainted())
		}
	})
}
