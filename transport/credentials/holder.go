package credentials

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// settleTime is how long a file must have been left alone before it is read
// unasked: who writes a bundle of authorities in place is not to be believed
// half way. Within the same time of a look, a file system's clock may hide
// that a file was written again.
const settleTime = 2 * time.Second

// A Holder is a Source whose files can be read again. What cannot be used
// leaves the old ones in use, all of them. The zero value holds nothing. Its
// methods may be called from several goroutines.
type Holder struct {
	current atomic.Pointer[Credentials]

	mu      sync.Mutex // of all but current
	cfg     Config
	changed chan struct{}
	seen    []stamp   // of the files when they were read
	seenAt  time.Time // and when that was
	failed  string    // what the last look failed with
	expiry  string    // the last warning about our certificate's end
}

// Current implements Source.
func (h *Holder) Current() *Credentials { return h.current.Load() }

// Changed implements Source.
func (h *Holder) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

// Reload reads the files that cfg names, which from then on are those to be
// watched. It reports whether anything differs; with an error nothing does. A
// key log that is open stays open.
func (h *Holder) Reload(cfg Config) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.load(cfg, cfg.now())
}

// load replaces the current credentials by those of the files.
func (h *Holder) load(cfg Config, now time.Time) (changed bool, err error) {
	old := h.current.Load()
	var keyLog io.Writer
	if old != nil {
		keyLog = old.keyLog
	}
	stamps := look(cfg.files())
	for i, st := range stamps {
		if old != nil && st.info != nil && !st.info.Mode().IsRegular() { // a pipe would be waited for
			return false, &Error{Subject: cfg.files()[i], Reason: "is no regular file: it can be read at the start only"}
		}
	}
	c, err := load(cfg, keyLog)
	if err != nil {
		return false, err
	}
	h.cfg, h.seen, h.seenAt, h.failed = cfg, stamps, now, ""
	if old != nil && old.sum == c.sum {
		return false, nil
	}
	c.tell(cfg.Log)
	h.expiry = c.expiry(now)
	h.current.Store(c)
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
	return true, nil
}

// Watch looks at the files every so often until ctx ends, and reads them again
// when they are others: written, or replaced, or behind a link that now leads
// elsewhere. renewed is called when the credentials have changed, failed with
// what is wrong with files that were left so: the old credentials stay in use.
func (h *Holder) Watch(ctx context.Context, every time.Duration, renewed func(), failed func(error)) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		changed, settling, err := h.check()
		switch {
		case changed:
			renewed()
		case err != nil:
			failed(err)
		}
		if settling {
			timer.Reset(min(every, settleTime))
		} else {
			timer.Reset(every)
		}
	}
}

// check reads the files again if they are others. settling: they are being
// written, or were found bad for the first time, and deserve another look
// soon. An error is told once.
func (h *Holder) check() (changed, settling bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.cfg.now()
	c := h.current.Load()
	if c == nil {
		return false, false, nil
	}
	if w := c.expiry(now); w != h.expiry {
		if h.expiry = w; w != "" && h.cfg.Log != nil {
			h.cfg.Log.Warn("credentials need attention", "reason", w)
		}
	}
	files := h.cfg.files()
	stamps := look(files)
	if same(stamps, h.seen) && !young(stamps, h.seenAt) {
		h.failed = "" // what was bad was put back
		return false, false, nil
	}
	if young(stamps, now) {
		return false, true, nil
	}
	changed, err = h.load(h.cfg, now)
	if err == nil && !same(stamps, look(files)) {
		h.seen = nil // written meanwhile
		return changed, true, nil
	}
	switch {
	case err == nil:
		return changed, false, nil
	case h.failed == "":
		h.failed = "?" // a file of two may have been replaced
		return false, true, nil
	case h.failed == err.Error():
		return false, false, nil
	}
	h.failed = err.Error()
	return false, false, err
}

// A stamp is what tells that a file is another.
type stamp struct {
	info fs.FileInfo // nil: err
	err  string
}

// files are those that credentials are read from.
func (cfg Config) files() []string {
	var list []string
	for _, f := range []string{cfg.CertFile, cfg.KeyFile, cfg.CAFile, cfg.PSKFile} {
		if f != "" {
			list = append(list, f)
		}
	}
	return list
}

func look(files []string) []stamp {
	list := make([]stamp, len(files))
	for i, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			list[i].err = err.Error()
		} else {
			list[i].info = info
		}
	}
	return list
}

func same(a, b []stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i].info, b[i].info
		if x == nil || y == nil {
			if x != nil || y != nil || a[i].err != b[i].err {
				return false
			}
			continue
		}
		if !os.SameFile(x, y) || x.Size() != y.Size() || !x.ModTime().Equal(y.ModTime()) {
			return false
		}
	}
	return true
}

// young tells that a file was written shortly before now.
func young(list []stamp, now time.Time) bool {
	for _, s := range list {
		if s.info == nil {
			continue
		}
		if age := now.Sub(s.info.ModTime()); age >= 0 && age < settleTime {
			return true
		}
	}
	return false
}

// expiry words what is to be said about the end of our certificate.
func (c *Credentials) expiry(now time.Time) string {
	leaf := c.cert.Leaf
	if leaf == nil {
		return ""
	}
	switch until := leaf.NotAfter.UTC().Format(time.RFC3339); {
	case now.After(leaf.NotAfter):
		return fmt.Sprintf("%s expired on %s: peers refuse it", c.certName, until)
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("%s is not valid before %s: peers will refuse it (is the clock right?)", c.certName, leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.Add(expirySoon).After(leaf.NotAfter):
		return fmt.Sprintf("%s expires on %s", c.certName, until)
	}
	return ""
}
