package credentials

import (
	"bytes"
	"strings"
	"testing"
)

const hex16 = "000102030405060708090a0b0c0d0e0f"

func TestPSKFile(t *testing.T) {
	cfg := Config{PSKFile: writeBytes(t, "psk", 0o600, []byte("# keys\n\nr1.example:"+hex16+"\r\n urn:x:"+hex16+hex16+" \n")), Allow: []string{"*.example"}}
	c, err := loadAt(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := c.PSK("r1.example"); !ok || len(key) != 16 || key[15] != 15 {
		t.Errorf("PSK = %x, %v", key, ok)
	}
	if key, ok := c.PSK("urn:x"); !ok || len(key) != 32 {
		t.Errorf("PSK = %x, %v", key, ok)
	}
	if _, ok := c.PSK("x"); ok {
		t.Error("unknown identity has a key")
	}
	if err := c.AllowPSK("r1.example"); err != nil {
		t.Error(err)
	}
	if err := c.AllowPSK("urn:x"); err == nil || !strings.Contains(err.Error(), "matches no --allow pattern") {
		t.Errorf("got %v", err)
	}
	if err := c.AllowPSK(strings.Repeat("\n", 1000)); err == nil || !strings.Contains(err.Error(), "not known") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if c.PSKIdentity() != "" || !c.HasPSK() || c.HasCertificate() {
		t.Errorf("identity %q chosen among two", c.PSKIdentity())
	}
	cfg.PSKIdentity = "urn:x"
	if c, err = loadAt(cfg, now); err != nil || c.PSKIdentity() != "urn:x" {
		t.Errorf("identity %q, %v", c.PSKIdentity(), err)
	}
	cfg.PSKFile = writeBytes(t, "psk", 0o644, []byte("only:"+hex16))
	cfg.PSKIdentity = ""
	if c, err = loadAt(cfg, now); err != nil || c.PSKIdentity() != "only" || len(c.Warnings()) != 1 {
		t.Errorf("identity %q, warnings %v, %v", c.PSKIdentity(), c.Warnings(), err)
	}
}

func TestPSKFile_errors(t *testing.T) {
	for _, tt := range []struct{ name, text, identity, reason string }{
		{"empty", "", "", "no key in the file"},
		{"no colon", "a" + hex16, "", "line 1: no colon"},
		{"no identity", "\n:" + hex16, "", "line 2: empty identity"},
		{"odd hex", "a:" + hex16 + "0", "", "not written in pairs of hex digits"},
		{"no hex", "a:xx", "", "not written in pairs"},
		{"short, RFC 4279 7.2", "a:" + hex16[2:], "", `the key of "a" has 15 octets, not 16 to 256`},
		{"long", "a:" + strings.Repeat(hex16, 17), "", "has 272 octets"},
		{"twice", "a:" + hex16 + "\na:" + hex16, "", `line 2: identity "a" is there twice`},
		{"space", "a b:" + hex16, "", `' ' in the identity`},
		{"control", "a\x00b:" + hex16, "", "in the identity"},
		{"not UTF-8", "\xff:" + hex16, "", "not UTF-8"},
		{"long identity", strings.Repeat("a", 129) + ":" + hex16, "", "longer than 128"},
		{"other identity", "a:" + hex16, "b", `no identity "b" in it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadAt(Config{PSKFile: writeBytes(t, "psk", 0o600, []byte(tt.text)), PSKIdentity: tt.identity}, now)
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Fatalf("got %v, want %q", err, tt.reason)
			}
			if strings.Contains(err.Error(), hex16[2:]) {
				t.Errorf("shows the key: %v", err)
			}
		})
	}
}

func FuzzParsePSKs(f *testing.F) {
	f.Add([]byte("# c\na:" + hex16 + "\n"))
	f.Add([]byte("a:b:" + hex16 + "\r\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		psks, err := parsePSKs("f", data)
		for id, key := range psks {
			if len(key) < minPSK || badIdentity(id) != "" || !bytes.Contains(data, []byte(id)) {
				t.Errorf("%q: %x", id, key)
			}
		}
		if err == nil && len(psks) == 0 || err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%v, %q", psks, err)
		}
	})
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"a.example", []string{"a.example", "A.Example"}, []string{"b.example", "x.a.example", "a.example.x", ""}},
		{"*.pop1.example", []string{"r1.pop1.example", "R1.POP1.example"}, []string{"pop1.example", "x.r1.pop1.example", ".pop1.example", "r1.pop2.example"}},
		{"r*-pop?.example", []string{"r1-pop?.example"}, []string{"r1-pop1.example"}},
		{"r*x*y.e", []string{"r1x2y.e", "rxy.e", "rxyxy.e"}, []string{"rx.e", "ry.e", "xy.e"}},
		{"**.example", []string{"a.example", "a.b.example"}, []string{"example", "a.test"}},
		{"**", []string{"a", "a.b", "10.0.0.1"}, nil},
		{"*", []string{"a"}, []string{"a.b", "10.0.0.1", ""}},
		{"10.1.0.0/16", []string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"10.2.0.1", "a", "2001:db8::1"}},
		{"2001:db8::1", []string{"2001:db8::1"}, []string{"2001:db8::2"}},
	} {
		ps, err := ParsePatterns([]string{tt.pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range tt.yes {
			if !ps[0].Match(s) {
				t.Errorf("%s does not match %s", tt.pattern, s)
			}
		}
		for _, s := range tt.no {
			if ps[0].Match(s) {
				t.Errorf("%s matches %s", tt.pattern, s)
			}
		}
	}
	for _, bad := range []string{"", "a,,b", "a.**", "a**", ".", "10.0.0.0/33", "a/b", strings.Repeat("a", 254)} {
		if _, err := ParsePatterns([]string{bad}); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if ps, err := ParsePatterns([]string{"a, b", "c"}); err != nil || len(ps) != 3 {
		t.Errorf("%d patterns, %v", len(ps), err)
	}
}
