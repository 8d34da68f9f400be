package credentials

import (
	"context"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// put writes a file as if so long ago.
func putFile(t testing.TB, name string, ago time.Duration, blocks ...*pem.Block) {
	t.Helper()
	var b []byte
	for _, block := range blocks {
		b = append(b, pem.EncodeToMemory(block)...)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	at := now.Add(-ago)
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

// held makes a Holder of certificates in one directory; its clock is *clock.
func held(t testing.TB) (h *Holder, cfg Config, ca *authority, clock *time.Time) {
	t.Helper()
	dir, key := t.TempDir(), newKey(t)
	ca = newAuthority(t, "test CA")
	at := now
	cfg = Config{
		CertFile: filepath.Join(dir, "a.pem"), KeyFile: filepath.Join(dir, "a-key.pem"), CAFile: filepath.Join(dir, "ca.pem"),
		Now: func() time.Time { return at },
	}
	putFile(t, cfg.CertFile, time.Hour, certBlock(ca.leaf(t, key, nil)))
	putFile(t, cfg.KeyFile, time.Hour, keyBlock(t, key))
	putFile(t, cfg.CAFile, time.Hour, certBlock(ca.cert))
	h = &Holder{}
	if h.Current() != nil {
		t.Fatal("an empty Holder holds something")
	}
	if changed, err := h.Reload(cfg); !changed || err != nil {
		t.Fatal(changed, err)
	}
	return h, cfg, ca, &at
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// renew writes another certificate with another key.
func renew(t testing.TB, cfg Config, ca *authority, ago time.Duration) {
	t.Helper()
	key := newKey(t)
	putFile(t, cfg.CertFile, ago, certBlock(ca.leaf(t, key, nil)))
	putFile(t, cfg.KeyFile, ago, keyBlock(t, key))
}

func TestHolder_Reload(t *testing.T) {
	h, cfg, ca, _ := held(t)
	old, changed := h.Current(), h.Changed()
	if again, err := h.Reload(cfg); again || err != nil || h.Current() != old || isClosed(changed) {
		t.Fatalf("the same files are no change: %v, %v", again, err)
	}
	renew(t, cfg, ca, time.Minute)
	if again, err := h.Reload(cfg); !again || err != nil || h.Current() == old || !isClosed(changed) {
		t.Fatalf("%v, %v", again, err)
	}
	if h.Current().Fingerprint() == old.Fingerprint() {
		t.Error("another certificate has the same fingerprint")
	}
	// Whom to let in is a change, but none of who we are.
	last := h.Current()
	cfg.Allow = []string{"*.pop1.example"}
	if again, err := h.Reload(cfg); !again || err != nil || h.Current().Fingerprint() != last.Fingerprint() || len(h.Current().allow) != 1 {
		t.Errorf("%v, %v", again, err)
	}
	// An authority more, or in another order.
	other := newAuthority(t, "other CA")
	prints := map[[32]byte]bool{}
	for _, blocks := range [][]*pem.Block{{certBlock(ca.cert), certBlock(other.cert)}, {certBlock(other.cert), certBlock(ca.cert)}, {certBlock(other.cert)}} {
		putFile(t, cfg.CAFile, time.Minute, blocks...)
		if _, err := h.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		prints[h.Current().Fingerprint()] = true
	}
	if len(prints) != 2 {
		t.Errorf("%d fingerprints of 2 sets of authorities", len(prints))
	}
}

// Whatever is wrong, all of the old stays in use.
func TestHolder_faultyFilesChangeNothing(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		spoil      func(cfg *Config, ca *authority)
	}{
		{"certificate without its key", "does not belong to the certificate", func(cfg *Config, ca *authority) {
			putFile(t, cfg.CertFile, time.Minute, certBlock(ca.leaf(t, newKey(t), nil)))
		}},
		{"key without its certificate", "does not belong to the certificate", func(cfg *Config, _ *authority) {
			putFile(t, cfg.KeyFile, time.Minute, keyBlock(t, newKey(t)))
		}},
		{"certificate cut off", "no certificate in it", func(cfg *Config, _ *authority) { putFile(t, cfg.CertFile, time.Minute) }},
		{"no authority", "no such file", func(cfg *Config, _ *authority) { _ = os.Remove(cfg.CAFile) }},
		{"garbled authority", "PEM block 1", func(cfg *Config, _ *authority) {
			putFile(t, cfg.CAFile, time.Minute, &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
		}},
		{"good certificate, bad keys", "no colon", func(cfg *Config, ca *authority) {
			renew(t, *cfg, ca, time.Minute)
			cfg.PSKFile = writeBytes(t, "psk", 0o600, []byte("x"))
		}},
		{"expired", "expired on", func(cfg *Config, _ *authority) { cfg.Now = func() time.Time { return now.AddDate(2, 0, 0) } }},
		{"bad pattern", "empty label", func(cfg *Config, ca *authority) { renew(t, *cfg, ca, time.Minute); cfg.Allow = []string{"a..b"} }},
		{"a pipe", "can be read at the start only", func(cfg *Config, _ *authority) { cfg.PSKFile = "/dev/null" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, cfg, ca, _ := held(t)
			old, changed := h.Current(), h.Changed()
			tt.spoil(&cfg, ca)
			again, err := h.Reload(cfg)
			if err == nil || again || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want %q", again, err, tt.want)
			}
			if h.Current() != old || isClosed(changed) {
				t.Error("the old ones are no longer in use")
			}
		})
	}
}

// A key log is opened once: sessions of before and after write to it.
func TestHolder_keyLogStaysOpen(t *testing.T) {
	h, cfg, ca, _ := held(t)
	cfg.KeyLogFile = filepath.Join(t.TempDir(), "keys")
	renew(t, cfg, ca, time.Minute)
	if _, err := h.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	first := h.Current().KeyLog()
	renew(t, cfg, ca, time.Minute)
	if _, err := h.Reload(cfg); err != nil || first == nil || h.Current().KeyLog() != first {
		t.Errorf("%v, %v and %v", err, first, h.Current().KeyLog())
	}
}

// What renews certificates writes them in place, renames others over them, or
// turns a link (Kubernetes: ..data). Each is noticed, and nothing else is.
func TestHolder_check(t *testing.T) {
	for name, replace := range map[string]func(cfg Config, ca *authority){
		"in place": func(cfg Config, ca *authority) { renew(t, cfg, ca, 5*time.Second) },
		"renamed": func(cfg Config, ca *authority) {
			next := cfg
			next.CertFile += ".new"
			next.KeyFile += ".new"
			// Of the same size and time, at that.
			key := newKey(t)
			putFile(t, next.CertFile, time.Hour, certBlock(ca.leaf(t, key, nil)))
			putFile(t, next.KeyFile, time.Hour, keyBlock(t, key))
			for _, f := range []string{cfg.CertFile, cfg.KeyFile} {
				if err := os.Rename(f+".new", f); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, cfg, ca, _ := held(t)
			old := h.Current()
			if changed, settling, err := h.check(); changed || settling || err != nil {
				t.Fatalf("nothing has happened: %v, %v, %v", changed, settling, err)
			}
			replace(cfg, ca)
			if changed, settling, err := h.check(); !changed || settling || err != nil || h.Current() == old {
				t.Fatalf("%v, %v, %v", changed, settling, err)
			}
			if changed, settling, err := h.check(); changed || settling || err != nil {
				t.Errorf("again: %v, %v, %v", changed, settling, err)
			}
		})
	}
	t.Run("link", func(t *testing.T) {
		h, cfg, ca, _ := held(t)
		dir := t.TempDir()
		in := func(sub string) Config {
			c := cfg
			c.CertFile, c.KeyFile = filepath.Join(dir, sub, "a.pem"), filepath.Join(dir, sub, "a-key.pem")
			return c
		}
		turn := func(to string) {
			if err := errors.Join(os.Symlink(to, filepath.Join(dir, "tmp")), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "..data"))); err != nil {
				t.Fatal(err)
			}
		}
		for _, sub := range []string{"1", "2"} {
			if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
				t.Fatal(err)
			}
			renew(t, in(sub), ca, time.Hour)
		}
		turn("1")
		if _, err := h.Reload(in("..data")); err != nil {
			t.Fatal(err)
		}
		old := h.Current()
		turn("2")
		if changed, _, err := h.check(); !changed || err != nil || h.Current() == old {
			t.Errorf("%v, %v", changed, err)
		}
	})
}

// A file that is being written is left alone until it has settled; of what is
// bad twice it is told once, and the old ones stay in use.
func TestHolder_checkSettles(t *testing.T) {
	h, cfg, ca, clock := held(t)
	old := h.Current()
	renew(t, cfg, ca, 0)
	if changed, settling, err := h.check(); changed || !settling || err != nil || h.Current() != old {
		t.Fatalf("read at once: %v, %v, %v", changed, settling, err)
	}
	*clock = clock.Add(settleTime)
	if changed, _, err := h.check(); !changed || err != nil {
		t.Fatalf("not read: %v", err)
	}
	good := h.Current()

	putFile(t, cfg.KeyFile, -time.Second, keyBlock(t, newKey(t)))
	*clock = clock.Add(time.Minute)
	var told []error
	for range 5 {
		changed, _, err := h.check()
		if changed {
			t.Error("changed to what is bad")
		}
		if err != nil {
			told = append(told, err)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), "does not belong") || h.Current() != good {
		t.Errorf("told %v", told)
	}
	renew(t, cfg, ca, -2*time.Second)
	if changed, _, err := h.check(); !changed || err != nil {
		t.Errorf("%v, %v", changed, err)
	}
}

// The end of a certificate is told when it comes near and when it is there.
func TestHolder_checkTellsExpiry(t *testing.T) {
	h, _, _, clock := held(t)
	var said []string
	for _, ahead := range []time.Duration{0, 360 * 24 * time.Hour, 361 * 24 * time.Hour, 370 * 24 * time.Hour, 371 * 24 * time.Hour} {
		*clock = now.Add(ahead)
		before := h.expiry
		if _, _, err := h.check(); err != nil {
			t.Fatal(err)
		}
		if h.expiry != before {
			said = append(said, h.expiry)
		}
	}
	if len(said) != 2 || !strings.Contains(said[0], "expires on 2027") || !strings.Contains(said[1], "expired on 2027") {
		t.Errorf("said %q", said)
	}
}

func TestHolder_Watch(t *testing.T) {
	h, cfg, ca, _ := held(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan string, 8)
		ended := make(chan struct{})
		began := time.Now()
		go func() {
			h.Watch(ctx, 30*time.Second, func() { events <- "renewed" }, func(err error) { events <- err.Error() })
			close(ended)
		}()
		renew(t, cfg, ca, time.Minute)
		if got := <-events; got != "renewed" || time.Since(began) != 30*time.Second {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		putFile(t, cfg.CertFile, 50*time.Second)
		if got := <-events; !strings.Contains(got, "no certificate in it") || time.Since(began) != 62*time.Second {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		renew(t, cfg, ca, 40*time.Second)
		if got := <-events; got != "renewed" {
			t.Errorf("%q", got)
		}
		cancel()
		<-ended
	})
}
