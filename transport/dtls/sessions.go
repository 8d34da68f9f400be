package dtls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	pion "github.com/pion/dtls/v3"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/dtls/record"
)

// Bounds of what a saved session may hold. The sizes of id and secret are TLS's
// (RFC 5246, Sections 7.4.1.2 and 8.1).
const (
	maxSessionID     = 32
	masterSecretLen  = 48
	maxPSKIdentity   = 1<<16 - 1
	maxSavedChain    = 16
	maxSavedCert     = 1 << 16
	sessionsVersion  = 1
	pionSessionStamp = 1 // pion's Version of sessions that tell what authenticated them
)

// Sessions are the sessions that Listeners can resume. Several Listeners may
// share them, and a process can hand them to the one that follows it.
//
// What Append writes holds master secrets. Whoever reads it can, as long as
// the sessions live, pass for their exporters and their collector, and decrypt
// what he recorded of them: for these sessions there is no forward secrecy. It
// belongs where private keys do.
type Sessions struct{ cache *sessionCache }

// NewSessions holds n sessions, each for ttl after its full handshake; 0 is
// DefaultMaxStored and DefaultSessionTTL, negative none.
func NewSessions(n int, ttl time.Duration) *Sessions {
	if n == 0 {
		n = DefaultMaxStored
	}
	if ttl == 0 {
		ttl = DefaultSessionTTL
	}
	return &Sessions{newSessionCache(n, ttl)}
}

// Len is how many there are, sessions among them whose time is over.
func (s *Sessions) Len() int { return s.cache.len() }

// Changes counts sessions that came and went.
func (s *Sessions) Changes() uint64 {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	return s.cache.changes
}

// savedSessions is the format of Append and Load, in JSON.
type savedSessions struct {
	Version  int            `json:"version"`
	Sessions []savedSession `json:"sessions"` // the oldest first
}

type savedSession struct {
	ID           []byte   `json:"id"`
	Secret       []byte   `json:"secret"`
	Suite        uint16   `json:"suite"`
	Certificates [][]byte `json:"certificates,omitempty"` // the exporter's, DER
	Identity     []byte   `json:"identity,omitempty"`     // of the pre-shared key
	PSKHash      []byte   `json:"pskHash,omitempty"`
	Heartbeat    uint8    `json:"heartbeat,omitempty"`
	Expires      int64    `json:"expires"` // Unix seconds
	// Made is what of ours a session of certificates was made with.
	Made []byte `json:"made,omitempty"`
}

// Append appends the sessions whose time is not over to dst. The octets are as
// secret as a private key.
func (s *Sessions) Append(dst []byte, now time.Time) []byte {
	doc := savedSessions{Version: sessionsVersion, Sessions: s.saved(now)}
	b, err := json.Marshal(doc)
	if err != nil {
		return dst // no value of these types can fail
	}
	dst = append(dst, b...)
	clear(b)
	return dst
}

func (s *Sessions) saved(now time.Time) []savedSession {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]savedSession, 0, c.order.Len())
	for e := c.order.Front(); e != nil; e = e.Next() {
		entry := e.Value.(cacheEntry)
		if !now.Before(entry.expires) {
			continue
		}
		v := savedSession{
			ID: entry.session.ID, Secret: entry.session.Secret, Suite: uint16(entry.session.CipherSuiteID),
			Certificates: entry.session.PeerCertificates, Heartbeat: uint8(entry.heartbeat), Expires: entry.expires.Unix(),
		}
		if record.Suite(v.Suite).PSK() {
			v.Certificates, v.Identity, v.PSKHash = nil, entry.session.IdentityHint, entry.session.PSKHash[:]
		} else {
			v.Made = entry.made[:]
		}
		if _, err := v.stored(); err == nil { // else Load would take none
			list = append(list, v)
		}
	}
	return list
}

// Load takes in what Append wrote, all of it or, with an error, nothing. Those
// whose time is over are left out; no session gets more time than a new one
// would. Whether what authenticated a session would still do is asked when it
// is resumed: certificates are checked then as in a full handshake.
func (s *Sessions) Load(b []byte, now time.Time) (n int, err error) {
	var doc savedSessions
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return 0, fmt.Errorf("saved sessions: octet %d: %w", d.InputOffset(), err)
	}
	if d.More() {
		return 0, fmt.Errorf("saved sessions: octet %d: more than one object", d.InputOffset())
	}
	if doc.Version != sessionsVersion {
		return 0, fmt.Errorf("saved sessions: version %d, want %d", doc.Version, sessionsVersion)
	}
	list := make([]stored, 0, len(doc.Sessions))
	for i := range doc.Sessions {
		st, err := doc.Sessions[i].stored()
		if err != nil {
			return 0, fmt.Errorf("saved sessions: session %d: %w", i, err)
		}
		if now.Before(st.expires) {
			list = append(list, st)
		}
	}
	before := s.cache.len()
	for _, st := range list {
		s.cache.putUntil(string(st.session.ID), st, now)
	}
	return s.cache.len() - before, nil
}

// stored checks a saved session.
func (v *savedSession) stored() (st stored, err error) {
	suite, mode := record.Suite(v.Suite), heartbeat.Mode(v.Heartbeat)
	switch {
	case len(v.ID) == 0 || len(v.ID) > maxSessionID:
		return st, fmt.Errorf("an id of %d octets", len(v.ID))
	case len(v.Secret) != masterSecretLen:
		return st, fmt.Errorf("a secret of %d octets", len(v.Secret))
	case !slices.Contains(allSuites(), suite):
		return st, fmt.Errorf("cipher suite %#04x", v.Suite)
	case mode != 0 && !mode.Valid():
		return st, fmt.Errorf("heartbeat mode %d", v.Heartbeat)
	}
	st = stored{heartbeat: mode, expires: time.Unix(v.Expires, 0), session: pion.Session{
		ID: v.ID, Secret: v.Secret, Version: pionSessionStamp, CipherSuiteID: pion.CipherSuiteID(v.Suite),
		ExtendedMasterSecret: true, // no other session is ever made
	}}
	if suite.PSK() {
		if len(v.Identity) == 0 || len(v.Identity) > maxPSKIdentity || len(v.PSKHash) != len(st.session.PSKHash) || len(v.Certificates) > 0 || len(v.Made) > 0 {
			return st, errors.New("no pre-shared key's identity and hash")
		}
		st.session.IdentityHint, st.session.PSKHash = v.Identity, [len(st.session.PSKHash)]byte(v.PSKHash)
		return st, nil
	}
	if len(v.Made) != len(st.made) {
		return st, fmt.Errorf("a fingerprint of %d octets", len(v.Made))
	}
	st.made = [len(st.made)]byte(v.Made)
	if len(v.Certificates) == 0 || len(v.Certificates) > maxSavedChain || len(v.Identity) > 0 || len(v.PSKHash) > 0 {
		return st, fmt.Errorf("a chain of %d certificates", len(v.Certificates))
	}
	for _, c := range v.Certificates {
		if len(c) == 0 || len(c) > maxSavedCert {
			return st, fmt.Errorf("a certificate of %d octets", len(c))
		}
	}
	st.session.PeerCertificates = v.Certificates
	return st, nil
}
