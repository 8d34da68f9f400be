package credentials

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

const (
	// minPSK: shorter keys can be guessed offline by who sees a handshake
	// (RFC 4279, Section 7.2).
	minPSK = 16
	maxPSK = 256
	// maxPSKIdentity is what RFC 4279, Section 5.3, has everyone support.
	maxPSKIdentity = 128
)

func (c *Credentials) loadPSKs(name, identity string) error {
	data, info, err := readFile("PSK file", name)
	if err != nil {
		return err
	}
	c.warnMode("PSK file", name, info)
	if c.psks, err = parsePSKs(name, data); err != nil {
		return err
	}
	if _, ok := c.psks[identity]; identity != "" && !ok {
		return &Error{Subject: "PSK file " + name, Reason: fmt.Sprintf("no identity %q in it", identity)}
	}
	if identity == "" && len(c.psks) == 1 {
		for identity = range c.psks {
		}
	}
	c.identity = identity
	return nil
}

// parsePSKs reads lines IDENTITY:HEXKEY; the last colon counts. Empty lines
// and those that begin with # are passed over. Keys are never shown in errors.
func parsePSKs(name string, data []byte) (map[string][]byte, error) {
	psks := make(map[string][]byte)
	line := 0
	bad := func(format string, args ...any) error {
		return &Error{Subject: fmt.Sprintf("PSK file %s, line %d", name, line), Reason: fmt.Sprintf(format, args...),
			hint: "a line is IDENTITY:HEXKEY; make a key with: openssl rand -hex 32"}
	}
	for text := range bytes.Lines(data) {
		line++
		text = bytes.TrimSpace(text)
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		colon := bytes.LastIndexByte(text, ':')
		if colon < 0 {
			return nil, bad("no colon")
		}
		identity, digits := string(text[:colon]), text[colon+1:]
		if why := badIdentity(identity); why != "" {
			return nil, bad("%s", why)
		}
		key := make([]byte, hex.DecodedLen(len(digits)))
		if _, err := hex.Decode(key, digits); err != nil {
			return nil, bad("the key of %q is not written in pairs of hex digits", identity)
		}
		switch _, twice := psks[identity]; {
		case len(key) < minPSK || len(key) > maxPSK:
			return nil, bad("the key of %q has %d octets, not %d to %d", identity, len(key), minPSK, maxPSK)
		case twice:
			return nil, bad("identity %q is there twice", identity)
		}
		psks[identity] = key
	}
	if len(psks) == 0 {
		line = 1
		return nil, bad("no key in the file")
	}
	return psks, nil
}

func badIdentity(s string) string {
	switch {
	case s == "":
		return "empty identity"
	case len(s) > maxPSKIdentity:
		return fmt.Sprintf("identity longer than %d octets", maxPSKIdentity)
	case !utf8.ValidString(s):
		return "identity is not UTF-8"
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == ' ' {
			return fmt.Sprintf("%q in the identity", r)
		}
	}
	return ""
}

// HasPSK tells whether there are pre-shared keys.
func (c *Credentials) HasPSK() bool { return len(c.psks) > 0 }

// PSKIdentity is the identity to present to a collector; empty if none was
// chosen among several.
func (c *Credentials) PSKIdentity() string { return c.identity }

// PSK is the key shared with a peer, for the caller to keep. That a peer has
// it is proven by the handshake; nothing is compared here.
func (c *Credentials) PSK(identity string) ([]byte, bool) {
	key, ok := c.psks[identity]
	return slices.Clone(key), ok
}

// AllowPSK refuses identities that are not known or that no --allow pattern
// matches.
func (c *Credentials) AllowPSK(identity string) error {
	if _, ok := c.psks[identity]; !ok {
		return &Error{Subject: "peer's PSK identity " + quote(identity), Reason: "not known"}
	}
	if !c.allowed(identity) {
		return &Error{Subject: "peer's PSK identity " + quote(identity), Reason: "matches no --allow pattern"}
	}
	return nil
}

// quote shows what a peer sent, in bounds.
func quote(s string) string {
	if len(s) > maxPSKIdentity {
		return fmt.Sprintf("%q…", s[:maxPSKIdentity])
	}
	return fmt.Sprintf("%q", s)
}
