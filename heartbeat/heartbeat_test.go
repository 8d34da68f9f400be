package heartbeat

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const pad16 = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse_RFC6520_4(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Message
		err      error
	}{
		{"request", "01" + "0004" + "70696e67" + pad16, Message{Request, []byte("ping")}, nil},
		{"response", "02" + "0001" + "78" + pad16, Message{Response, []byte("x")}, nil},
		{"no payload", "01" + "0000" + pad16, Message{Request, []byte{}}, nil},
		{"longer padding", "01" + "0001" + "78" + pad16 + "00000000", Message{Request, []byte("x")}, nil},
		{"empty", "", Message{}, ErrShort},
		{"header only", "010000", Message{}, ErrShort},
		{"padding one short", "01" + "0001" + pad16, Message{}, ErrShort},
		{"heartbleed: length far beyond the record", "01" + "ffff" + "78" + pad16, Message{}, ErrShort},
		{"length eats the padding", "01" + "0002" + "78" + pad16, Message{}, ErrShort},
		{"unknown type", "03" + "0000" + pad16, Message{}, ErrType},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(unhex(t, c.in))
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := Parse(make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("message over 2^14: %v", err)
	}
}

func TestAppend_RFC6520_4(t *testing.T) {
	got, err := Message{Request, []byte("ping")}.AppendBinary([]byte{0xEE}, unhex(t, pad16))
	if err != nil {
		t.Fatal(err)
	}
	if want := unhex(t, "ee"+"01"+"0004"+"70696e67"+pad16); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	for name, c := range map[string]struct {
		m   Message
		pad int
		err error
	}{
		"padding below 16": {Message{Request, nil}, 15, ErrPadding},
		"over 2^14":        {Message{Request, make([]byte, MaxMessage)}, 16, ErrTooLarge},
		"no type":          {Message{0, nil}, 16, ErrType},
	} {
		if _, err := c.m.AppendBinary(nil, make([]byte, c.pad)); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
}

func TestMode_RFC6520_2(t *testing.T) {
	for m, want := range map[Mode]bool{0: false, PeerAllowed: true, PeerNotAllowed: true, 3: false} {
		if m.Valid() != want {
			t.Errorf("mode %d valid: %v", m, !want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, "01000470696e67"+pad16))
	f.Add(unhex(f, "01ffff78"+pad16))
	f.Add(unhex(f, "020000"+pad16))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		padding := b[HeaderLen+len(m.Payload):]
		again, err := m.AppendBinary(nil, padding)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("round trip of %x gives %x, %v", b, again, err)
		}
	})
}
