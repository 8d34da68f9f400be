package ipfix

import (
	"testing"

	"ipfixsuite/ipfix"
)

// Whatever stands in lists, the file can be read and has all records.
func FuzzSink(f *testing.F) {
	f.Add([]byte{14, 3, 0x01, 0x2D, 0xAA, 4, 3, 0x01, 0x2C, 6, 0xBB, 3, 3, 0x01, 0x2C, 11, 4, 0x01, 0x2C, 0, 6, 6, 17, 0x03, 0xE7, 0, 0, 0})
	f.Add([]byte{0, 0, 13, 4, 0x01, 0x24, 0xFF, 0xFF, 3, 3, 0x01, 0x2C, 3, 3, 0x01, 0x2C})
	f.Fuzz(func(t *testing.T, body []byte) {
		inner := template(t, 300, 0, 4, 1)
		middle := template(t, 301, 0, 6, 1, 292, ipfix.VariableLength)
		outer := template(t, 302, 0, 292, ipfix.VariableLength, 293, ipfix.VariableLength, 291, ipfix.VariableLength)
		n, err := ipfix.CountRecords(outer, body)
		if err != nil || n == 0 || len(body) > 60_000 {
			t.Skip()
		}
		dir := t.TempDir()
		s := open(t, dir, Config{})
		b := batch("r", 1, 1, 1, outer, body...)
		b.Lists = func(id uint16) *ipfix.Template {
			return map[uint16]*ipfix.Template{300: inner, 301: middle, 302: outer}[id]
		}
		write(t, s, batch("r", 2, 1, 1, template(t, 300, 0, 5, 1), 1), b, b)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		out := dump(t, dir+"/"+files(t, dir)[0])
		if s.Stats().Records != uint64(1+2*n) || out[0] != "message 1@1" {
			t.Fatal(out)
		}
	})
}
