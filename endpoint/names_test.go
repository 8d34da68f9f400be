package endpoint

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/test/harness"
)

// answer is what a server says to a query: its records have a pointer to the
// name in the question, which is copied (RFC 1035, Sections 4.1 and 4.1.4).
func answer(query []byte, flags uint16, id uint16, records ...[]byte) []byte {
	end := 12
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5
	b := binary.BigEndian.AppendUint16(nil, id)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(records)))
	b = append(b, 0, 0, 0, 0)
	b = append(b, query[12:end]...)
	for _, r := range records {
		b = append(b, r...)
	}
	return b
}

func rr(typ uint16, ttl uint32, data ...byte) []byte {
	b := []byte{0xC0, 12}
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, 1)
	b = binary.BigEndian.AppendUint32(b, ttl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

const (
	typeA, typeAAAA   = 1, 28
	said, saidInPart  = 0x8180, 0x8380 // response, recursion; truncated
	saidThatNotExists = 0x8183
)

// serveNames answers queries by UDP and TCP on one port: with what say returns,
// and by TCP with whole.
func serveNames(t *testing.T, say func(query []byte, typ uint16) [][]byte, whole func(query []byte, typ uint16) []byte) (dial func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	tcp, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	typ := func(q []byte) uint16 {
		end := 12
		for q[end] != 0 {
			end += 1 + int(q[end])
		}
		return binary.BigEndian.Uint16(q[end+1:])
	}
	go func() { // ends when udp is closed
		b := make([]byte, 2000)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			for _, m := range say(b[:n], typ(b[:n])) {
				_, _ = udp.WriteTo(m, from)
			}
		}
	}()
	go func() { // ends when tcp is closed
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 2000)
			if _, err := io.ReadFull(c, b[:2]); err == nil {
				n := int(binary.BigEndian.Uint16(b))
				if _, err := io.ReadFull(c, b[:n]); err == nil {
					m := whole(b[:n], typ(b[:n]))
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network[:3], tcp.Addr().String())
	}
}

// How long addresses hold is the least that the answers of the name's server say;
// what nobody asked for says nothing.
func TestLookup_TTL_RFC1035_3_2_1(t *testing.T) {
	a, aaaa := rr(typeA, 300, 192, 0, 2, 1), func(ttl uint32) []byte {
		return rr(typeAAAA, ttl, append([]byte{0x20, 1, 0x0d, 0xb8}, make([]byte, 12)...)...)
	}
	id := func(q []byte) uint16 { return binary.BigEndian.Uint16(q) }
	both := func(ttl uint32) func(q []byte, typ uint16) []byte {
		return func(q []byte, typ uint16) []byte {
			if typ == typeA {
				return answer(q, said, id(q), a)
			}
			return answer(q, said, id(q), aaaa(ttl))
		}
	}
	one := func(f func(q []byte, typ uint16) []byte) func(q []byte, typ uint16) [][]byte {
		return func(q []byte, typ uint16) [][]byte { return [][]byte{f(q, typ)} }
	}
	for _, c := range []struct {
		name  string
		say   func(q []byte, typ uint16) [][]byte
		whole func(q []byte, typ uint16) []byte
		addrs int
		want  time.Duration
	}{
		{"the least of both families", one(both(60)), nil, 2, time.Minute},
		{"less than sense", one(both(0)), nil, 2, minTTL},
		{"an answer to another query before", func(q []byte, typ uint16) [][]byte {
			return [][]byte{answer(q, said, id(q)+1, rr(typ, 7, 192, 0, 2, 9)), both(90)(q, typ)}
		}, nil, 2, 90 * time.Second},
		{"garbage before", func(q []byte, typ uint16) [][]byte {
			m := both(90)(q, typ)
			return [][]byte{m[:1], m[:20], m}
		}, nil, 2, 90 * time.Second},
		{"whole by TCP only", func(q []byte, _ uint16) [][]byte {
			return [][]byte{answer(q, saidInPart, id(q))}
		}, both(30), 2, 30 * time.Second},
		{"one family only", func(q []byte, typ uint16) [][]byte {
			if typ == typeA {
				return [][]byte{answer(q, said, id(q), a)}
			}
			return [][]byte{answer(q, said, id(q))}
		}, nil, 1, 300 * time.Second},
		{"no such name", func(q []byte, _ uint16) [][]byte {
			return [][]byte{answer(q, saidThatNotExists, id(q))}
		}, nil, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dial := serveNames(t, c.say, c.whole)
			addrs, ttl, err := lookup(t.Context(), "collector.example.", dial)
			if len(addrs) != c.addrs || (err != nil) != (c.addrs == 0) || ttl != c.want {
				t.Errorf("%v for %v, %v", addrs, ttl, err)
			}
			if c.addrs > 0 && !slices.Contains(addrs, netip.MustParseAddr("192.0.2.1")) {
				t.Errorf("%v", addrs)
			}
		})
	}
}

// What is known of a name is looked at again when its lifetime is over, at the
// latest after a time, and after a failure.
func TestDialer_Due(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter, _ := creds(t)
		made, err := Dialer(parse(t, "dtls+udp://collector.example"), Config{Credentials: exporter, Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return nil, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		d := made.(*dialer)
		if !d.Due(time.Minute) {
			t.Error("not due though nothing is known")
		}
		for _, c := range []struct{ ttl, every, want time.Duration }{
			{0, time.Minute, time.Minute},
			{20 * time.Second, time.Minute, 20 * time.Second},
			{time.Hour, time.Minute, time.Minute},
		} {
			d.note(c.ttl)
			time.Sleep(c.want - time.Millisecond)
			if d.Due(c.every) {
				t.Errorf("%+v: due too soon", c)
			}
			time.Sleep(time.Millisecond)
			if !d.Due(c.every) {
				t.Errorf("%+v: not due", c)
			}
		}
	})
}
