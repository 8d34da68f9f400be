package dtls

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"ipfixsuite/heartbeat"
	"ipfixsuite/transport/credentials"
	"ipfixsuite/transport/dtls/record"
)

// Ordered is a carrier of a handshake on which records arrive once and in
// order, each as a message of its own: an SCTP association (RFC 6083). Its
// methods are called in the order of the handshake, and may wait.
type Ordered interface {
	// SendRecord sends one record.
	SendRecord(ctx context.Context, rec []byte) error
	// ChangeCipherSpec sends that record: when it returns, everything sent from
	// then on is protected by the new key of the carrier too.
	ChangeCipherSpec(ctx context.Context, rec []byte) error
	// Key is told the carrier's new key as soon as it can be known, which is
	// before the peer may use it. The key is valid only during the call.
	Key(key []byte) error
}

const (
	// keyLabel and keyLen make the carrier's key (RFC 6083, Sections 4.8 and 5).
	keyLabel = "EXPORTER_DTLS_OVER_SCTP"
	keyLen   = 64
	// never is a retransmission interval.
	never = 24 * time.Hour
	// pionBuffer is what pion reads at most at once; larger handshake records
	// are cut to fragments of fragmentLen.
	pionBuffer  = 8192
	fragmentLen = 8000
)

// Handshake is one over an Ordered carrier. It is a full one: an abbreviated
// one would need the carrier's key before it is known.
type Handshake struct {
	d  *driver
	sh *shim

	plaintext uint64 // records given to pion; the pushing goroutine's
}

// NewHandshake prepares one; client says which side this is.
func NewHandshake(cfg Config, client bool, local, remote netip.AddrPort, over Ordered) (*Handshake, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.ReplayWindow = -1 // replay detection must not be used (RFC 6083, Section 3.3)
	cfg.ConnectionID = false
	var creds *credentials.Credentials
	if client {
		var err error
		if cfg, creds, err = cfg.dialing(); err != nil {
			return nil, err
		}
	} else {
		cfg = cfg.WithDefaults()
		creds = cfg.Credentials.Current()
	}
	h := &Handshake{d: &driver{cfg: cfg, creds: creds, client: client, over: over}}
	h.sh = newShim(client, local, remote, new(dropCounters), h.flight)
	h.sh.strict = true
	return h, nil
}

// Established is an association after its handshake.
type Established struct {
	Sealer   *record.Sealer
	Opener   *record.Opener
	Suite    record.Suite
	Identity string         // of the peer, authenticated
	Mode     heartbeat.Mode // the peer's of RFC 6520; 0: not negotiated
	Answers  bool           // this side answers the peer's heartbeat requests

	admission admission
}

// Stands says whether other credentials would have let this peer in.
func (e *Established) Stands(now *credentials.Credentials) error {
	if e.admission.by == now {
		return nil
	}
	return e.admission.stands(now)
}

// Run performs the handshake. When it returns the old key of the carrier is of
// no more use.
func (h *Handshake) Run(ctx context.Context) (*Established, error) {
	t, err := h.d.run(ctx, h.sh)
	if err != nil {
		return nil, err
	}
	return &Established{
		Sealer: t.sealer, Opener: t.opener, Suite: t.suite, Identity: t.identity,
		Mode: t.heartbeat, Answers: h.d.cfg.Heartbeat == HeartbeatOn && t.heartbeat != 0,
		admission: admission{identity: t.identity, chain: t.chain, at: time.Now(), by: t.creds},
	}, nil
}

var errFlood = errors.New("more handshake records than a handshake has")

// Push takes the peer's record, exactly one: of epoch 0, or of type handshake.
// An error ends the handshake. One goroutine calls it.
func (h *Handshake) Push(rec []byte) error {
	hdr, _, rest, ok := record.Next(rec, 0)
	if !ok || len(rest) > 0 {
		return record.ErrMalformed
	}
	if hdr.Epoch != 0 {
		return h.push(rec)
	}
	if len(rec) <= pionBuffer || hdr.Type != record.Handshake {
		return h.push(h.numbered(append([]byte(nil), rec...)))
	}
	for content := rec[record.HeaderLen:]; len(content) > 0; {
		f, rest, ok := nextFragment(content)
		if !ok {
			return record.ErrMalformed
		}
		head := content[:6]
		content = rest
		for at := 0; at == 0 || at < len(f.body); at += fragmentLen {
			part := f.body[at:min(at+fragmentLen, len(f.body))]
			if err := h.push(h.numbered(appendFragment(rec[:record.HeaderLen], head, f.offset+at, part))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Handshake) push(rec []byte) error {
	if !h.sh.push(rec) {
		return errFlood
	}
	return nil
}

// numbered gives a record of epoch 0 the next number: pion has a replay window
// there, and cut records have none of their own.
func (h *Handshake) numbered(rec []byte) []byte {
	binary.BigEndian.PutUint64(rec[3:], h.plaintext)
	h.plaintext++
	return rec
}

// appendFragment makes a record of one fragment: head is the message's type,
// length and number.
func appendFragment(header, head []byte, offset int, body []byte) []byte {
	out := append(make([]byte, 0, record.HeaderLen+handshakeHeaderLen+len(body)), header...)
	binary.BigEndian.PutUint16(out[11:], uint16(handshakeHeaderLen+len(body)))
	out = append(out, head...)
	n := len(body)
	out = append(out, byte(offset>>16), byte(offset>>8), byte(offset), byte(n>>16), byte(n>>8), byte(n))
	return append(out, body...)
}

// flight sends what pion writes at once, one record a message (RFC 6083,
// Section 4.1, MUST).
func (h *Handshake) flight(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		hdr, rec, rest, ok := record.Next(b, 0)
		if !ok {
			return record.ErrMalformed
		}
		b = rest
		send := h.d.over.SendRecord
		if hdr.Type == record.ChangeCipherSpec {
			send = h.d.over.ChangeCipherSpec
		}
		if err := send(ctx, rec); err != nil {
			return err
		}
	}
	return nil
}

// export derives the carrier's key: 64 octets of every master secret (RFC
// 6083, Section 4.8). clientRandom is what pion logs, right at a client.
func (d *driver) export(clientRandom, master []byte) error {
	s := record.Secrets{Master: master}
	peer := d.peerHello()
	if d.client {
		s.ClientRandom, s.ServerRandom = make([]byte, hex.DecodedLen(len(clientRandom))), peer.random
		if _, err := hex.Decode(s.ClientRandom, clientRandom); err != nil || len(peer.suites) != 2 {
			return errors.New("pion's key log is of another form than the pinned version's")
		}
		s.Suite = record.Suite(binary.BigEndian.Uint16(peer.suites))
	} else {
		d.mu.Lock()
		s.ClientRandom, s.ServerRandom, s.Suite = peer.random, d.serverHello.random[:], d.serverHello.suite
		d.mu.Unlock()
	}
	key := make([]byte, keyLen)
	defer clear(key)
	if err := record.Export(key, keyLabel, s); err != nil {
		return err
	}
	if err := d.over.Key(key); err != nil {
		return fmt.Errorf("key of the carrier: %w", err)
	}
	return nil
}
