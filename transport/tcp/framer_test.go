package tcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"ipfixsuite/transport"
)

// taken is a Receiver that keeps messages.
type taken struct {
	counter
	got [][]byte
}

func (k *taken) Message(m transport.Incoming) { k.got = append(k.got, bytes.Clone(m.Data)) }

// Any octets, cut anywhere: the messages are those that their lengths tell, up
// to the first header that is none.
func FuzzFramer(f *testing.F) {
	f.Add(append(message(16, 1), message(40, 2)...), byte(3))
	f.Add(append(message(100, 1), 0, 9, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), byte(200))
	f.Add(append(message(17, 1), 0, 10, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), byte(1))
	f.Fuzz(func(t *testing.T, in []byte, cut byte) {
		var want [][]byte
		rest, bad := in, false
		for len(rest) >= headerLen {
			n := int(binary.BigEndian.Uint16(rest[2:]))
			if bad = binary.BigEndian.Uint16(rest) != ipfixNumber || n < headerLen; bad || n > len(rest) {
				break
			}
			want = append(want, rest[:n])
			rest = rest[n:]
		}
		var fr Framer
		var k taken
		var err error
		total := 0
		for left := in; len(left) > 0 && err == nil; {
			room := fr.Room()
			if len(room) == 0 {
				t.Fatal("no room")
			}
			n := copy(room[:min(len(room), int(cut)+1)], left)
			left = left[n:]
			var messages, octets int
			messages, octets, err = fr.Took(n, &k, time.Time{})
			total += octets
			if messages > len(k.got) {
				t.Fatalf("%d messages of %d", messages, len(k.got))
			}
		}
		if bad != errors.Is(err, ErrOutOfSync) || len(k.got) != len(want) {
			t.Fatalf("%d messages of %d, %v", len(k.got), len(want), err)
		}
		octets := 0
		for i := range want {
			octets += len(want[i])
			if !bytes.Equal(k.got[i], want[i]) {
				t.Fatalf("message %d is another", i)
			}
		}
		if total != octets || !bad && fr.Pending() != len(rest) {
			t.Errorf("%d octets of %d, %d pending of %d", total, octets, fr.Pending(), len(rest))
		}
	})
}
