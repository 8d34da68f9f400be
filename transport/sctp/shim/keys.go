package shim

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"slices"

	"ipfixsuite/transport/sctp/wire"
)

var (
	// ErrKey says that a shared key is not there, or is in use.
	ErrKey = errors.New("no such SCTP-AUTH key, or it is the active one")
	// ErrKeys says that there are too many keys, or one is too long.
	ErrKeys = errors.New("too many or too long SCTP-AUTH keys")
	// ErrNoAuth says that the association has no SCTP-AUTH.
	ErrNoAuth = errors.New("association without SCTP-AUTH")
)

const (
	// maxKeys bounds an association's shared keys: two are in use during a
	// change.
	maxKeys = 8
	maxKey  = 1024
)

// keyring holds an association's shared keys and makes and checks AUTH chunks
// (RFC 4895, Section 6).
type keyring struct {
	terms  *AuthTerms // nil: no SCTP-AUTH
	keys   []*sharedKey
	active *sharedKey
	// turns say from which message on which key is used, ascending, the first
	// for all before the second. A key that was deleted since is in here alone,
	// and no longer lets anything in.
	turns []turn
	sum   [sha256.Size]byte
}

// turn is an activation: messages from this number on, counted from 0, are
// authenticated under the key.
type turn struct {
	from uint64
	key  *sharedKey
}

// sharedKey is an association key with its states, one an algorithm.
type sharedKey struct {
	id           uint16
	secret       []byte // association shared key
	sha1, sha256 hash.Hash
}

var zeroMAC [sha256.Size]byte

func newKeyring(t *AuthTerms) keyring {
	k := keyring{terms: t}
	if t != nil {
		// Without any other there is key 0, empty (RFC 4895, Section 6.1).
		k.active = k.newKey(0, nil)
		k.keys = append(k.keys, k.active)
		k.turns = append(k.turns, turn{0, k.active})
	}
	return k
}

// of is the key of a message, which was the active one when it was entered:
// what is under way when keys change, or has to be sent again, stays under its
// own (RFC 6083, Section 4.8: ChangeCipherSpec under the old one, Finished
// under the new).
func (k *keyring) of(message uint64) (s *sharedKey) {
	for i, t := range k.turns {
		if i > 0 && t.from > message {
			break
		}
		s = t.key
	}
	return s
}

// settled lets go of the keys that no message needs any more: those before
// this one are settled.
func (k *keyring) settled(message uint64) {
	for len(k.turns) > 1 && k.turns[1].from <= message {
		old := k.turns[0].key
		k.turns = append(k.turns[:0], k.turns[1:]...)
		k.wipe(old)
	}
}

// wipe clears the secret of a key that is used for nothing any more.
func (k *keyring) wipe(s *sharedKey) {
	used := func(t turn) bool { return t.key == s }
	if !slices.Contains(k.keys, s) && !slices.ContainsFunc(k.turns, used) {
		clear(s.secret)
		s.sha1, s.sha256 = nil, nil
	}
}

func (k *keyring) newKey(id uint16, shared []byte) *sharedKey {
	return &sharedKey{id: id, secret: wire.AppendAssociationKey(nil, shared, k.terms.Own, k.terms.Peer)}
}

func (k *keyring) find(id uint16) *sharedKey {
	for _, s := range k.keys {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (k *keyring) set(id uint16, shared []byte) error {
	switch old := k.find(id); {
	case k.terms == nil:
		return ErrNoAuth
	case len(shared) > maxKey || old == nil && len(k.keys) == maxKeys:
		return ErrKeys
	case old != nil:
		fresh := k.newKey(id, shared)
		clear(old.secret)
		*old = *fresh
	default:
		k.keys = append(k.keys, k.newKey(id, shared))
	}
	return nil
}

// activate makes a key that of the messages from this one on.
func (k *keyring) activate(id uint16, message uint64) error {
	if k.terms == nil {
		return ErrNoAuth
	}
	s := k.find(id)
	if s == nil {
		return ErrKey
	}
	old := k.active
	switch n := len(k.turns); {
	case k.turns[n-1].from == message:
		k.turns[n-1].key = s
	case n == maxKeys:
		return ErrKeys
	default:
		k.turns = append(k.turns, turn{message, s})
	}
	k.active = s
	k.wipe(old)
	return nil
}

func (k *keyring) remove(id uint16) error {
	if k.terms == nil {
		return ErrNoAuth
	}
	s := k.find(id)
	if s == nil || s == k.active {
		return ErrKey
	}
	k.keys = slices.DeleteFunc(k.keys, func(o *sharedKey) bool { return o == s })
	k.wipe(s)
	return nil
}

// mac is the state for an algorithm, reset, and its size.
func (s *sharedKey) mac(algorithm uint16) (m hash.Hash, size int) {
	if algorithm == wire.HMACSHA256 {
		if s.sha256 == nil {
			s.sha256 = hmac.New(sha256.New, s.secret)
		}
		s.sha256.Reset()
		return s.sha256, sha256.Size
	}
	if s.sha1 == nil {
		s.sha1 = hmac.New(sha1.New, s.secret)
	}
	s.sha1.Reset()
	return s.sha1, sha1.Size
}

// overhead is what AUTH adds to a packet whose chunks the peer wants
// authenticated.
func (t *AuthTerms) overhead() int {
	switch {
	case t == nil || t.Theirs.Empty():
		return 0
	case t.HMAC == wire.HMACSHA256:
		return wire.AuthHeaderLen + sha256.Size
	}
	return wire.AuthHeaderLen + sha1.Size
}

// seal puts an AUTH chunk before the first chunk of the packet that the peer
// takes only authenticated, if there is one. What stands before it, as a
// COOKIE ECHO that sets the keys up, stays unauthenticated (RFC 4895, Section
// 6.2). The packet is the whole of b, s the key.
func (k *keyring) seal(b []byte, s *sharedKey) []byte {
	if k.terms == nil {
		return b
	}
	at := wire.HeaderLen
	w := wire.WalkChunks(b)
	for c := (wire.Chunk{}); w.Next(&c); at += len(c.Raw) {
		if k.terms.Theirs.Has(c.Type) {
			return k.insert(b, at, s)
		}
	}
	return b
}

func (k *keyring) insert(b []byte, at int, s *sharedKey) []byte {
	m, size := s.mac(k.terms.HMAC)
	end, gap := len(b), wire.AuthHeaderLen+size
	b = append(b, zeroMAC[:wire.AuthHeaderLen]...)
	b = append(b, zeroMAC[:size]...)
	copy(b[at+gap:], b[at:end])
	wire.AppendAuthHeader(b[:at], s.id, k.terms.HMAC, size)
	clear(b[at+wire.AuthHeaderLen : at+gap])
	m.Write(b[at:])
	copy(b[at+wire.AuthHeaderLen:], m.Sum(k.sum[:0]))
	return b
}

// verdict on an AUTH chunk.
type verdict uint8

const (
	authentic verdict = iota
	forged
	keyUnknown
	algorithmUnknown
	noAuth // malformed, or the association has none
)

// verify checks an AUTH chunk over itself and the rest of its packet (RFC
// 4895, Section 6.3).
func (k *keyring) verify(c *wire.Chunk, rest []byte) verdict {
	a, ok := wire.ParseAuth(c)
	if !ok || k.terms == nil {
		return noAuth
	}
	if a.HMAC != wire.HMACSHA1 && a.HMAC != wire.HMACSHA256 {
		return algorithmUnknown
	}
	s := k.find(a.Key)
	if s == nil {
		return keyUnknown
	}
	m, size := s.mac(a.HMAC)
	if len(a.MAC) != size {
		return forged
	}
	m.Write(c.Raw[:wire.AuthHeaderLen])
	m.Write(zeroMAC[:size])
	m.Write(rest)
	if !hmac.Equal(m.Sum(k.sum[:0]), a.MAC) {
		return forged
	}
	return authentic
}

// next tells whether id follows the active key's, as RFC 6083, Section 4.8,
// counts: 65535 is followed by 1.
func (k *keyring) next(id uint16) bool {
	if k.active.id == 0xFFFF {
		return id == 1
	}
	return id == k.active.id+1
}
