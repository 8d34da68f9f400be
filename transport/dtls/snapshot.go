package dtls

import (
	"bytes"
	"encoding/gob"
	"fmt"

	pion "github.com/pion/dtls/v3"
)

// snapshot is what pion's State exports of a finished handshake. Its format
// is a gob, so the field names are the format; a test fails when pion's set of
// fields changes.
type snapshot struct {
	RemoteSequenceNumber  uint64
	HandshakeComplete     bool
	LocalEpoch            uint16
	RemoteEpoch           uint16
	LocalRandom           [32]byte
	RemoteRandom          [32]byte
	CipherSuiteID         uint16
	MasterSecret          []byte
	SequenceNumber        uint64
	SRTPProtectionProfile uint16
	PeerCertificates      [][]byte
	IdentityHint          []byte
	SessionID             []byte
	LocalConnectionID     []byte
	RemoteConnectionID    []byte
	IsClient              bool
	NegotiatedProtocol    string
}

func takeSnapshot(c *pion.Conn) (snapshot, error) {
	var s snapshot
	state, ok := c.ConnectionState()
	if !ok {
		return s, fmt.Errorf("pion has no connection state")
	}
	raw, err := state.MarshalBinary()
	if err != nil {
		return s, fmt.Errorf("pion's state: %w", err)
	}
	defer clear(raw)
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&s); err != nil {
		return s, fmt.Errorf("pion's state: %w", err)
	}
	if !s.HandshakeComplete || s.LocalEpoch != 1 || s.RemoteEpoch != 1 {
		return s, fmt.Errorf("pion's state is of epochs %d and %d", s.LocalEpoch, s.RemoteEpoch)
	}
	return s, nil
}
