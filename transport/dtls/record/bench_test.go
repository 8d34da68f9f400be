package record

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"
)

var benchSizes = []int{512, 1400}

// The limit: crypto/cipher alone with nonce and additional data at hand.
func BenchmarkCipher(b *testing.B) {
	for _, n := range benchSizes {
		block, _ := aes.NewCipher(make([]byte, 16))
		gcm, _ := cipher.NewGCM(block)
		nonce, aad := make([]byte, 12), make([]byte, 13)
		in, out := make([]byte, n), make([]byte, 0, n+16)
		b.Run(fmt.Sprintf("seal/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				out = gcm.Seal(out[:0], nonce, in, aad)
			}
		})
		sealed := gcm.Seal(nil, nonce, in, aad)
		b.Run(fmt.Sprintf("open/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			dst := make([]byte, 0, n)
			for b.Loop() {
				if _, err := gcm.Open(dst, nonce, sealed, aad); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, suite := range []Suite{ECDHEECDSAAES128GCM, ECDHEECDSAChaCha20} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%v/%d", suite, n), func(b *testing.B) {
				w, _ := pair(b, suite, nil)
				in, out := make([]byte, n), make([]byte, 0, 2048)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					out, _ = w.Seal(out[:0], ApplicationData, in)
				}
			})
		}
	}
}

// BenchmarkOpen copies the record back each time, as a receive would; the
// replay window is off because it is one record over and over.
func BenchmarkOpen(b *testing.B) {
	for _, suite := range []Suite{ECDHEECDSAAES128GCM, ECDHEECDSAChaCha20} {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%v/%d", suite, n), func(b *testing.B) {
				w, r := pair(b, suite, func(_, s *Secrets) { s.Window = 0 })
				rec, _ := w.Seal(nil, ApplicationData, make([]byte, n))
				buf := make([]byte, len(rec))
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					copy(buf, rec)
					if _, _, err := r.Open(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
