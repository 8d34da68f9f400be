package collect

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Garbage of one exporter does not push another's troubles out of the log.
func TestLog_SharedFairly(t *testing.T) {
	var log strings.Builder
	c, _, r := offline(t, Config{Log: textLog(&log)}, udp)
	for range 10000 {
		send(r, 0, unhex("0009 0001"))
	}
	calm := open(t, c, "calm", 2, udp)
	send(calm, 0, message(1, 0, unhex("0101 0003")))
	if n := strings.Count(log.String(), "\n"); n > 40 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(log.String(), "malformed message\" exporter=calm") {
		t.Error("the other exporter's fault is not in the log")
	}
	if st := c.Stats(); st.Malformed != 10001 {
		t.Errorf("%d malformed", st.Malformed)
	}
}

func TestSession_Memory(t *testing.T) {
	const n = 2000
	c := New(Config{Offline: true})
	b := message(1, 0, set(2, addresses), set(256, flow))
	send(open(t, c, "first", 1<<20, udp), 0, b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range uint64(n) {
		send(open(t, c, "exporter", i, udp), 0, b)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d octets a session with one domain and one template", each)
	if each > 3500 {
		t.Errorf("%d octets a session", each)
	}
	runtime.KeepAlive(c)
}

// BenchmarkHostile is the price of what an enemy sends, a datagram each.
func BenchmarkHostile(b *testing.B) {
	var templates, garbled []byte
	for i := range 170 {
		templates = append(templates, unhex(fmt.Sprintf("%04x 0001 0008 0004", 256+i))...)
		garbled = append(garbled, unhex("00ff 0001 0008 0004")...)
	}
	hexed := func(b []byte) string { return fmt.Sprintf("%x", b) }
	for _, tt := range []struct {
		name string
		in   []byte
		vary func(b []byte, i uint32)
	}{
		{"new templates", message(1, 0, set(2, hexed(templates))), func(b []byte, i uint32) {
			for k := range uint32(170) {
				binary.BigEndian.PutUint16(b[20+8*k:], uint16(256+(i*170+k)%60000))
			}
		}},
		{"invalid templates", message(1, 0, set(2, hexed(garbled))), nil},
		{"unknown data", message(1, 0, set(999, strings.Repeat("00", 1380))), nil},
		{"new domains", message(1, 0, set(2, addresses)), func(b []byte, i uint32) { binary.BigEndian.PutUint32(b[12:], i) }},
		{"numbers at random", message(1, 0, set(2, addresses), set(256, flow)), func(b []byte, i uint32) { binary.BigEndian.PutUint32(b[8:], i*0x9e3779b9) }},
		{"tiny sets", message(1, 0, set(999, hexed(nil))), nil},
		{"NetFlow v9", unhex("0009 0001 00000000 00000000 00000000 00000000"), nil},
	} {
		b.Run(tt.name, func(b *testing.B) {
			_, _, r := offline(b, Config{}, udp)
			b.ReportAllocs()
			for i := uint32(0); b.Loop(); i++ {
				if tt.vary != nil {
					tt.vary(tt.in, i)
				}
				send(r, int(time.Duration(i)/1000), tt.in)
			}
		})
	}
}
