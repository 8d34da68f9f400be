package credentials

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
)

// A Source hands out credentials that may be replaced while it is in use. A
// handshake asks once and uses what it got to its end, so that it never mixes
// old with new. Credentials are the Source of themselves.
type Source interface {
	// Current are those to be used now; nil: there are none.
	Current() *Credentials
	// Changed is closed when Current becomes another than at the time of the
	// call; nil: never.
	Changed() <-chan struct{}
}

// Current implements Source.
func (c *Credentials) Current() *Credentials { return c }

// Changed implements Source.
func (c *Credentials) Changed() <-chan struct{} { return nil }

// Fingerprint stands for the own certificate and the authorities trusted. A
// session that was made under another one is not to be resumed: its peer has
// not seen our certificate, and who vouched for it may be trusted no more.
// Without certificates it is zero; pre-shared keys are not in it.
func (c *Credentials) Fingerprint() [sha256.Size]byte { return c.fingerprint }

// seal computes what tells these Credentials from others.
func (c *Credentials) seal() {
	h := sha256.New()
	if c.HasCertificate() {
		put(h, c.cert.Certificate...)
		slices.SortFunc(c.authorities, slices.Compare[[]byte])
		put(h, c.authorities...)
		c.fingerprint = [sha256.Size]byte(h.Sum(nil))
	}
	for _, id := range slices.Sorted(maps.Keys(c.psks)) {
		put(h, []byte(id), c.psks[id])
	}
	put(h, []byte(c.identity), []byte(c.serverName))
	for _, p := range c.allow {
		put(h, []byte(p.text))
	}
	c.sum = [sha256.Size]byte(h.Sum(nil))
}

// put writes a list so that no two lists are written alike.
func put(h hash.Hash, list ...[]byte) {
	var n [8]byte
	for _, b := range append([][]byte{binary.BigEndian.AppendUint64(nil, uint64(len(list)))}, list...) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
}
