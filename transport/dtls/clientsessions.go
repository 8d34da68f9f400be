package dtls

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// maxClientSessions bounds the collectors whose sessions are kept.
const maxClientSessions = 256

// ClientSessions are what Dialers of one process share for resumption: a
// session made with a collector over one transport goes on over another (RFC
// 5238, Section 3.4).
//
// A session is offered to no other collector than the one that made it. That
// is the same only if the host in the URL, the address it stands for, the name
// that its certificate has to prove and the identity of our pre-shared key are
// all the same; port and transport may differ. And it is offered only under the
// credentials it was made with: the same certificate and authorities, or the
// same key.
type ClientSessions struct{ cache *sessionCache }

// NewClientSessions keeps each session for ttl after its full handshake; 0 is
// DefaultSessionTTL, negative: none is kept.
func NewClientSessions(ttl time.Duration) *ClientSessions {
	if ttl == 0 {
		ttl = DefaultSessionTTL
	}
	return &ClientSessions{newSessionCache(maxClientSessions, ttl)}
}

// Len is how many there are, sessions among them whose time is over.
func (s *ClientSessions) Len() int { return s.cache.len() }

// collector names the collector at an address: what a session is kept under.
// host is that of the URL, which ServerName may have replaced.
func (c Config) collector(host string, at netip.Addr) string {
	h := sha256.New()
	for _, part := range []string{name(host), at.Unmap().String(), name(c.ServerName), c.PSKIdentity} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	return string(h.Sum(nil))
}

// name is a host's, however it was written.
func name(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }
