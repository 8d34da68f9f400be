package dtls

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	pion "github.com/pion/dtls/v3"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/dtls/record"
)

// stored is a session that may be resumed. What authenticated it is kept and
// checked again at each resumption, and it ends after a time, lest a session
// outlives its peer's certificate (CVE-2016-5419).
type stored struct {
	session pion.Session
	// heartbeat is the peer's mode of the full handshake: GnuTLS does not
	// repeat the extension when it resumes, but goes on answering.
	heartbeat heartbeat.Mode
	expires   time.Time
	made      [sha256.Size]byte // with what: driver.binding
}

// sessionCache keeps sessions by key, the oldest making room. A Listener's
// key is the session id. A Dialer has one entry under the empty key: the
// session of its endpoint survives a new source port. Behind it are those of
// ClientSessions, by collector.
type sessionCache struct {
	mu    sync.Mutex
	max   int
	ttl   time.Duration
	byKey map[string]*list.Element
	order *list.List // of cacheEntry, the oldest first

	changes uint64 // so many times it was
}

type cacheEntry struct {
	key string
	stored
}

func newSessionCache(n int, ttl time.Duration) *sessionCache {
	return &sessionCache{max: n, ttl: ttl, byKey: map[string]*list.Element{}, order: list.New()}
}

func (c *sessionCache) get(key string, now time.Time) (stored, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return stored{}, false
	}
	entry := e.Value.(cacheEntry)
	if !now.Before(entry.expires) {
		c.remove(e)
		return stored{}, false
	}
	return entry.stored, true
}

func (c *sessionCache) put(key string, s stored, now time.Time) {
	s.expires = now.Add(c.ttl)
	c.putUntil(key, s, now)
}

// putUntil keeps a session until its own end, at most for the time of a new
// one.
func (c *sessionCache) putUntil(key string, s stored, now time.Time) {
	if c.max <= 0 || c.ttl <= 0 {
		return
	}
	if latest := now.Add(c.ttl); s.expires.After(latest) {
		s.expires = latest
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.remove(e)
	}
	for c.order.Len() >= c.max {
		c.remove(c.order.Front())
	}
	c.byKey[key] = c.order.PushBack(cacheEntry{key, s})
	c.changes++
}

// del forgets a session, but only if it is the one of this id: a newer one
// under the same key stays.
func (c *sessionCache) del(key string, id []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok && bytes.Equal(e.Value.(cacheEntry).session.ID, id) {
		c.remove(e)
	}
}

// forget forgets whatever session is under a key.
func (c *sessionCache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.remove(e)
	}
}

// clear forgets all sessions.
func (c *sessionCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byKey)
	c.order.Init()
}

// keepOnly forgets the sessions of certificates that were made with another
// certificate of ours, or other authorities.
func (c *sessionCache) keepOnly(made [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; {
		next := e.Next()
		s := e.Value.(cacheEntry).stored
		if s.made != made && !record.Suite(s.session.CipherSuiteID).PSK() {
			c.remove(e)
		}
		e = next
	}
}

func (c *sessionCache) remove(e *list.Element) {
	entry := c.order.Remove(e).(cacheEntry)
	delete(c.byKey, entry.key)
	c.changes++
}

func (c *sessionCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}

// A place is where a client's session is kept.
type place struct {
	cache *sessionCache
	key   string
}

// resumption is one handshake's view of the caches, as pion wants it.
type resumption struct {
	cache  *sessionCache // a server's
	places []place       // a client's: the first that has a session offers it
	// check says whether what authenticated a session would still do. Asked
	// before it is resumed, so that a refusal reaches the peer in a full
	// handshake: an abbreviated one is over for the client before the server
	// could refuse it.
	check func(stored) error

	mu      sync.Mutex
	offered stored        // what Get found
	full    *pion.Session // what Set brought: the client's full handshake
}

// at are the places for what pion calls k.
func (r *resumption) at(k []byte) []place {
	if r.cache != nil {
		return []place{{r.cache, string(k)}}
	}
	return r.places
}

// Get implements pion.SessionStore.
func (r *resumption) Get(k []byte) (pion.Session, error) {
	for _, p := range r.at(k) {
		s, ok := p.cache.get(p.key, time.Now())
		if !ok {
			continue
		}
		if err := r.check(s); err != nil {
			p.cache.del(p.key, s.session.ID)
			continue
		}
		r.mu.Lock()
		r.offered = s
		r.mu.Unlock()
		return s.session, nil
	}
	return pion.Session{}, nil
}

// Set implements pion.SessionStore. The session enters the cache only after
// the takeover.
func (r *resumption) Set(_ []byte, s pion.Session) error {
	r.mu.Lock()
	r.full = &s
	r.mu.Unlock()
	return nil
}

// Del implements pion.SessionStore: a handshake that failed fatally, or a
// server that no longer knows the session.
func (r *resumption) Del(k []byte) error {
	r.mu.Lock()
	id := r.offered.session.ID
	r.mu.Unlock()
	for _, p := range r.at(k) {
		p.cache.del(p.key, id)
	}
	return nil
}

// keep stores what a full handshake made.
func (r *resumption) keep(s stored, now time.Time) {
	for _, p := range r.at(s.session.ID) {
		p.cache.put(p.key, s, now)
	}
}

// resumed returns the stored session that the hello of this id resumed.
func (r *resumption) resumed(id []byte) (stored, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.offered
	return s, len(id) > 0 && bytes.Equal(s.session.ID, id)
}

func (r *resumption) fullSession() *pion.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full
}
