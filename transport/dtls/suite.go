package dtls

import (
	"crypto/sha256"
	"hash"
	"sync"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/clientcertificate"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"

	"ipfixsuite/transport/dtls/record"
)

// pskSuite gives pion the suite it lacks, ECDHE-PSK with AES-128-GCM (RFC
// 8442), for the few records of a handshake. pion cannot export the state of a
// suite that is not its own, so this keeps what the takeover needs.
type pskSuite struct {
	keys *pskKeys
}

// pskKeys belong to one handshake; pion makes several pskSuite of it and
// initialises one.
type pskKeys struct {
	mu      sync.Mutex
	secrets record.Secrets
	ready   bool
	next    uint64 // beyond every sequence number used
}

func (s *pskSuite) String() string         { return record.ECDHEPSKAES128GCM.String() }
func (s *pskSuite) ID() pion.CipherSuiteID { return pion.CipherSuiteID(record.ECDHEPSKAES128GCM) }
func (s *pskSuite) CertificateType() clientcertificate.Type {
	return clientcertificate.Type(0)
}
func (s *pskSuite) HashFunc() func() hash.Hash { return sha256.New }
func (s *pskSuite) AuthenticationType() pion.CipherSuiteAuthenticationType {
	return pion.CipherSuiteAuthenticationTypePreSharedKey
}
func (s *pskSuite) KeyExchangeAlgorithm() pion.CipherSuiteKeyExchangeAlgorithm {
	return pion.CipherSuiteKeyExchangeAlgorithmPsk | pion.CipherSuiteKeyExchangeAlgorithmEcdhe
}
func (s *pskSuite) ECC() bool { return true }
func (s *pskSuite) IsInitialized() bool {
	_, _, ready := s.keys.get()
	return ready
}

func (k *pskKeys) get() (s record.Secrets, next uint64, ready bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.secrets, k.next, k.ready
}

func (s *pskSuite) Init(master, clientRandom, serverRandom []byte, client bool) error {
	secrets := record.Secrets{
		Suite: record.ECDHEPSKAES128GCM, Client: client,
		Master:       append([]byte(nil), master...),
		ClientRandom: append([]byte(nil), clientRandom...),
		ServerRandom: append([]byte(nil), serverRandom...),
	}
	if _, _, err := record.New(secrets); err != nil {
		return err
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.secrets, s.keys.ready = secrets, true
	return nil
}

// Encrypt seals raw, a record in plain: for one under a Connection ID its
// content ends with the inner type.
func (s *pskSuite) Encrypt(pkt *recordlayer.RecordLayer, raw []byte) ([]byte, error) {
	h := pkt.Header
	s.keys.mu.Lock()
	secrets := s.keys.secrets
	s.keys.next = max(s.keys.next, h.SequenceNumber+1)
	s.keys.mu.Unlock()
	secrets.Sequence, secrets.RemoteCID = h.SequenceNumber, h.ConnectionID
	seal, _, err := record.New(secrets)
	if err != nil {
		return nil, err
	}
	content, t := raw[h.Size():], record.Type(h.ContentType)
	if len(h.ConnectionID) > 0 {
		content, t = content[:len(content)-1], record.Type(content[len(content)-1])
	}
	return seal.Seal(nil, t, content)
}

// Decrypt opens a record and returns it in plain, header and all.
func (s *pskSuite) Decrypt(h recordlayer.Header, in []byte) ([]byte, error) {
	if err := h.Unmarshal(in); err != nil {
		return nil, err
	}
	if byte(h.ContentType) == byte(record.ChangeCipherSpec) {
		return in, nil
	}
	secrets, _, _ := s.keys.get()
	secrets.LocalCID = h.ConnectionID
	_, open, err := record.New(secrets)
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), in...)
	t, content, err := open.Open(out)
	if err != nil {
		return nil, err
	}
	plain := append([]byte(nil), in[:h.Size()]...)
	plain = append(plain, content...)
	if len(h.ConnectionID) > 0 {
		plain = append(plain, byte(t))
	}
	return plain, nil
}
