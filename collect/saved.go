package collect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

const (
	savedVersion = 1
	// maxSaved bounds the sessions that are known but not open.
	maxSaved = 1 << 16
	// unclaimedMost is after what time a session is given up whose Templates
	// have no end.
	unclaimedMost = 7 * 24 * time.Hour
	// noteRefresh is how often the repetition of Templates is worth a save:
	// far more often than they would expire.
	noteRefresh = time.Minute
)

// A sessionKey tells Transport Sessions apart that begin with no handshake:
// over a restart of the collector they simply go on (RFC 7011, Section 8).
type sessionKey struct {
	Scheme string `json:"scheme"`
	Remote string `json:"remote"`
	Local  string `json:"local"`
}

func keyOf(p *transport.Peer) sessionKey {
	return sessionKey{p.Scheme, p.Remote.String(), p.Local.String()}
}

// savedTemplates is the format of AppendTemplates and LoadTemplates, in JSON.
type savedTemplates struct {
	Version  int            `json:"version"`
	Sessions []savedSession `json:"sessions"`
}

type savedSession struct {
	sessionKey
	Domains []templates.SavedDomain `json:"domains"`
}

// outlives says whether a session may go on when the collector restarts. Where
// there was a handshake, or a connection, it ends with its process.
func (r *receiver) outlives() bool {
	return r.c.cfg.SaveTemplates && !r.props.Secure && !r.props.Reliable && !r.props.Stream
}

// TemplateChanges counts what happened to the Templates of plain datagram
// sessions: another number calls for AppendTemplates.
func (c *Collector) TemplateChanges() uint64 { return c.templateChanges.Load() }

// AppendTemplates appends to dst what the exporters of plain datagram sessions
// have defined, for LoadTemplates in the process that follows. It reports false
// when a session is held up by a sink just now.
func (c *Collector) AppendTemplates(dst []byte) ([]byte, bool) {
	doc := savedTemplates{Version: savedVersion, Sessions: []savedSession{}}
	for _, r := range c.receivers() {
		if !r.outlives() {
			continue
		}
		if !lockWithin(&r.mu, snapshotPatience) {
			return dst, false
		}
		if !r.closed.Load() {
			if d := r.store.Save(); len(d) > 0 {
				doc.Sessions = append(doc.Sessions, savedSession{keyOf(&r.peer), d})
			}
		}
		r.mu.Unlock()
	}
	c.mu.Lock()
	now := c.now()
	for k, d := range c.dormant {
		if alive(d, now) {
			doc.Sessions = append(doc.Sessions, savedSession{k, d})
		} else {
			delete(c.dormant, k)
		}
	}
	c.mu.Unlock()
	b, err := json.Marshal(doc)
	if err != nil {
		return dst, false // no value of these types can fail
	}
	return append(dst, b...), true
}

// alive says whether one Template at least may still be used.
func alive(domains []templates.SavedDomain, now time.Time) bool {
	for i := range domains {
		for j := range domains[i].Templates {
			t := &domains[i].Templates[j]
			if !t.Expired(now) && (t.Lifetime > 0 || now.Sub(time.Unix(int64(t.Seen), 0)) < unclaimedMost) {
				return true
			}
		}
	}
	return false
}

// LoadTemplates takes in what AppendTemplates wrote, all of it or, with an
// error, nothing, and returns the number of sessions. Each waits for its
// exporter's next message and has its Templates then at once.
func (c *Collector) LoadTemplates(b []byte) (n int, err error) {
	var doc savedTemplates
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return 0, fmt.Errorf("saved templates: octet %d: %w", d.InputOffset(), err)
	}
	switch {
	case d.More():
		return 0, fmt.Errorf("saved templates: octet %d: more than one object", d.InputOffset())
	case doc.Version != savedVersion:
		return 0, fmt.Errorf("saved templates: version %d, want %d", doc.Version, savedVersion)
	case len(doc.Sessions) > maxSaved:
		return 0, fmt.Errorf("saved templates: %d sessions, at most %d", len(doc.Sessions), maxSaved)
	}
	now := c.now()
	dormant := make(map[sessionKey][]templates.SavedDomain, len(doc.Sessions))
	for i := range doc.Sessions {
		s := &doc.Sessions[i]
		if err := c.tryRestore(now, s); err != nil {
			return 0, fmt.Errorf("saved templates: session %d, %s %s: %w", i, s.Scheme, s.Remote, err)
		}
		if alive(s.Domains, now) {
			dormant[s.sessionKey] = s.Domains
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dormant = dormant
	return len(dormant), nil
}

// tryRestore finds out whether a session can be restored, in a Store that is
// thrown away.
func (c *Collector) tryRestore(now time.Time, s *savedSession) error {
	if s.Scheme == "" || s.Remote == "" {
		return errors.New("no scheme or no address")
	}
	store := templates.NewStore(templates.StoreConfig{Registry: c.cfg.Registry, Lifetime: c.cfg.TemplateLifetime, Limits: c.cfg.SessionLimits}, nil)
	for i := range s.Domains {
		if _, err := store.Restore(now, s.Domains[i]); err != nil {
			return err
		}
	}
	return nil
}

// wake gives a new session the Templates it had before the restart. c.mu is
// held; nobody else knows r yet.
func (c *Collector) wake(r *receiver) {
	if len(c.dormant) == 0 || !r.outlives() {
		return
	}
	k, now, restored := keyOf(&r.peer), c.now(), 0
	saved, ok := c.dormant[k]
	if !ok {
		return
	}
	delete(c.dormant, k)
	c.templateChanges.Add(1)
	for i := range saved {
		// Bounds and an element's meaning may have changed since: then the
		// exporter's next Templates will do.
		n, err := r.store.Restore(now, saved[i])
		restored += n
		if err != nil {
			c.log.Debug("templates not restored", "exporter", r.peer.Identity, "session", r.peer.Session, "error", err)
		}
		if d := r.domain(saved[i].ID, now); d != nil {
			d.lastSeen = now
		}
	}
	c.log.Debug("templates restored", "exporter", r.peer.Identity, "session", r.peer.Session, "templates", restored)
}

// rest keeps the Templates of a session that ends with this process, not
// before it. r.mu and c.mu are held.
func (c *Collector) rest(r *receiver, reason error) {
	if !r.outlives() {
		return
	}
	c.templateChanges.Add(1)
	if !errors.Is(reason, transport.ErrClosed) && !errors.Is(reason, errEnding) || len(c.dormant) >= maxSaved {
		return
	}
	if saved := r.store.Save(); len(saved) > 0 {
		if c.dormant == nil {
			c.dormant = make(map[sessionKey][]templates.SavedDomain)
		}
		c.dormant[keyOf(&r.peer)] = saved
	}
}

// noteTemplates notes that a session's Templates are not those saved any more.
func (r *receiver) noteTemplates(kind templates.ChangeKind) {
	switch kind {
	case templates.Defined, templates.Redefined:
	case templates.Refreshed:
		if r.now.Sub(r.refreshed) < noteRefresh {
			return
		}
		r.refreshed = r.now
	default:
		return
	}
	r.c.templateChanges.Add(1)
}
