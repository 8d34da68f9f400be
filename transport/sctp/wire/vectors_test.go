package wire

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Packets of a Linux 6.1 kernel (its own SCTP-AUTH on both sides, SHA-256; the
// checksum left to the device) and of an association between that kernel and
// another stack over RFC 6951 (SHA-1). Wireshark dissects all of them without
// complaint; Python's hmac module gives the same MACs.
const (
	kernelInit = `a404 1284 00000000 00000100
		01 00 005e 49a8f280 0001a000 000a 000a a3ef861b
		000c 0006 0005 0000  8000 0004  8008 0005 0f 000000  c000 0004
		8002 0024 1247f0d0dfa3c1fcc7f5217fb61f4d558a991fe89b7e6d143e2254dcbdccd694
		8004 0008 0003 0001  8003 0006 00c0 0000`
	kernelAuthData = `a404 1284 bc4feea1 00000000
		0f 00 0028 0000 0003 d049c4d1c115d47b6ef789169919630fb1e56a72d53228f68ddfe74d09ec7906
		00 0b 009e a3ef861b 0000 0000 00000000
		16fefd00000000000000000081010000750000000000000075fefd6b0081ec6ed7d9b35a05be66f9226921b7bc3b5fb81765
		e66470e8c6bdcb30c600000002c02b01000049000d001600140403050306030807080408050806040105010601ff01000100
		000a00080006001d00170018000b000201000017000000000010000e00000b7365727665722e746573740000`
	kernelRandomA = "1247f0d0dfa3c1fcc7f5217fb61f4d558a991fe89b7e6d143e2254dcbdccd694"
	kernelRandomB = "599fc76fc26ab50d3a7fcccf573e53f5b7e6f62879bebc1b438fe98613729454"

	udpRandomA = "4b0163361ffebdb6cbe85153c0f874bbff31ba906290621a5b1dc9089fc56f0e"
	udpRandomB = "fef57a4378aade20ebbde670ee7129a7f1900b1941d8f653c82d52f4728d181c"
	// From the kernel, under the empty key 0 and under key 1, 64 octets 0x5a.
	udpAuthKey0 = `1284 9c41 fe4c6610 4e416be1
		0f 00 001c 0000 0001 a0e65bc99d739ff3e25e224b91383ed779198db6
		00 03 0020 da8eeb03 0000 0000 00000000 7265706c7920756e646572206b657930`
	udpAuthKey1 = `1284 9c41 fe4c6610 ce268865
		0f 00 001c 0001 0001 f01e02b5991a6e3694901a137e37502a00b3167c
		00 03 0020 da8eeb04 0000 0001 00000000 7265706c7920756e646572206b657931`
	udpSACK      = `1284 9c41 fe4c6610 0fa0c179 03 00 0010 6d6d1ef2 00019ffc 0000 0000`
	udpCookieAck = `1284 9c41 fe4c6610 7446549d 0b 00 0004`
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
