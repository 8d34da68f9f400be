package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// Suite is a cipher suite by its IANA number.
type Suite uint16

// The suites of RFC 5289, 7905, 5487 and 8442 that this layer protects with.
const (
	ECDHEECDSAAES128GCM Suite = 0xC02B
	ECDHEECDSAAES256GCM Suite = 0xC02C
	ECDHERSAAES128GCM   Suite = 0xC02F
	ECDHERSAAES256GCM   Suite = 0xC030
	ECDHERSAChaCha20    Suite = 0xCCA8
	ECDHEECDSAChaCha20  Suite = 0xCCA9
	PSKAES128GCM        Suite = 0x00A8
	PSKAES256GCM        Suite = 0x00A9
	PSKChaCha20         Suite = 0xCCAB
	ECDHEPSKChaCha20    Suite = 0xCCAC
	ECDHEPSKAES128GCM   Suite = 0xD001
	ECDHEPSKAES256GCM   Suite = 0xD002
)

// parameters of a suite: what key expansion yields and how nonces are made.
type parameters struct {
	keyLen int
	ivLen  int // the implicit part of the nonce: 4 with GCM, 12 with ChaCha20
	chacha bool
	hash   func() hash.Hash
}

func (s Suite) parameters() (parameters, error) {
	switch s {
	case ECDHEECDSAAES128GCM, ECDHERSAAES128GCM, PSKAES128GCM, ECDHEPSKAES128GCM:
		return parameters{keyLen: 16, ivLen: 4, hash: sha256.New}, nil
	case ECDHEECDSAAES256GCM, ECDHERSAAES256GCM, PSKAES256GCM, ECDHEPSKAES256GCM:
		return parameters{keyLen: 32, ivLen: 4, hash: sha512.New384}, nil
	case ECDHERSAChaCha20, ECDHEECDSAChaCha20, PSKChaCha20, ECDHEPSKChaCha20:
		return parameters{keyLen: 32, ivLen: 12, chacha: true, hash: sha256.New}, nil
	}
	return parameters{}, fmt.Errorf("cipher suite 0x%04x has no record protection here", uint16(s))
}

// String is the suite as IANA writes it.
func (s Suite) String() string {
	switch s {
	case ECDHEECDSAAES128GCM:
		return "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	case ECDHEECDSAAES256GCM:
		return "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
	case ECDHERSAAES128GCM:
		return "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
	case ECDHERSAAES256GCM:
		return "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
	case ECDHERSAChaCha20:
		return "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
	case ECDHEECDSAChaCha20:
		return "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
	case PSKAES128GCM:
		return "TLS_PSK_WITH_AES_128_GCM_SHA256"
	case PSKAES256GCM:
		return "TLS_PSK_WITH_AES_256_GCM_SHA384"
	case PSKChaCha20:
		return "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256"
	case ECDHEPSKChaCha20:
		return "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
	case ECDHEPSKAES128GCM:
		return "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256"
	case ECDHEPSKAES256GCM:
		return "TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384"
	}
	return fmt.Sprintf("0x%04X", uint16(s))
}

// PSK reports whether the suite authenticates by a pre-shared key alone.
func (s Suite) PSK() bool {
	switch s {
	case PSKAES128GCM, PSKAES256GCM, PSKChaCha20, ECDHEPSKChaCha20, ECDHEPSKAES128GCM, ECDHEPSKAES256GCM:
		return true
	}
	return false
}

func (p parameters) aead(key []byte) (cipher.AEAD, error) {
	if p.chacha {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
