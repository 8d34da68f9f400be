package record

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"
)

const (
	masterLen = 48
	randomLen = 32
)

// Secrets are what a handshake leaves behind for its records.
type Secrets struct {
	Suite        Suite
	Master       []byte // 48 octets
	ClientRandom []byte // 32 octets
	ServerRandom []byte // 32 octets
	Client       bool   // this side is the handshake's client

	// Sequence is the first sequence number this side seals with. It must lie
	// beyond every number already used under these keys.
	Sequence uint64
	// LocalCID is on records the peer sends, RemoteCID on records we send
	// (RFC 9146); empty means none was negotiated.
	LocalCID, RemoteCID []byte
	// Window is the size of the replay window in records, rounded up to a
	// multiple of 64. Zero switches replay detection off, as DTLS over SCTP
	// demands (RFC 6083, Section 4.4).
	Window int
}

// New derives both directions' keys (RFC 5246, Section 6.3).
func New(s Secrets) (*Sealer, *Opener, error) {
	p, err := s.Suite.parameters()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(s.Master) != masterLen:
		return nil, nil, fmt.Errorf("master secret of %d octets, want %d", len(s.Master), masterLen)
	case len(s.ClientRandom) != randomLen || len(s.ServerRandom) != randomLen:
		return nil, nil, errors.New("hello random is not 32 octets")
	case len(s.LocalCID) > maxCID || len(s.RemoteCID) > maxCID:
		return nil, nil, fmt.Errorf("connection id longer than %d octets", maxCID)
	case s.Window < 0 || s.Window > maxWindow:
		return nil, nil, fmt.Errorf("replay window of %d records, at most %d", s.Window, maxWindow)
	}
	block := make([]byte, 2*(p.keyLen+p.ivLen))
	seed := append([]byte("key expansion"), s.ServerRandom...)
	seed = append(seed, s.ClientRandom...)
	expand(block, s.Master, seed, p.hash)
	cut := func(n int) []byte {
		v := block[:n:n]
		block = block[n:]
		return v
	}
	clientKey, serverKey := cut(p.keyLen), cut(p.keyLen)
	clientIV, serverIV := cut(p.ivLen), cut(p.ivLen)
	writeKey, writeIV, readKey, readIV := clientKey, clientIV, serverKey, serverIV
	if !s.Client {
		writeKey, writeIV, readKey, readIV = readKey, readIV, writeKey, writeIV
	}
	w := &Sealer{suite: s.Suite, next: s.Sequence}
	if err := w.init(p, writeKey, writeIV, s.RemoteCID); err != nil {
		return nil, nil, err
	}
	r := &Opener{replay: newWindow(s.Window)}
	if err := r.init(p, readKey, readIV, s.LocalCID); err != nil {
		return nil, nil, err
	}
	clear(writeKey)
	clear(readKey)
	return w, r, nil
}

// expand fills out with P_hash(secret, seed) (RFC 5246, Section 5).
func expand(out, secret, seed []byte, h func() hash.Hash) {
	mac := hmac.New(h, secret)
	mac.Write(seed)
	a := mac.Sum(nil)
	var part []byte
	for len(out) > 0 {
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		part = mac.Sum(part[:0])
		out = out[copy(out, part):]
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(a[:0])
	}
}

// Export derives keying material for a protocol above, of as many octets as
// out has (RFC 5705, Section 4, without a context). Of s it takes suite, master
// secret and randoms; both sides get the same.
func Export(out []byte, label string, s Secrets) error {
	p, err := s.Suite.parameters()
	if err != nil {
		return err
	}
	if len(s.Master) != masterLen || len(s.ClientRandom) != randomLen || len(s.ServerRandom) != randomLen {
		return errors.New("master secret or hello random of a wrong length")
	}
	seed := append([]byte(label), s.ClientRandom...)
	expand(out, s.Master, append(seed, s.ServerRandom...), p.hash)
	return nil
}
