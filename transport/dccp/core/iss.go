package core

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"ipfixsuite/transport/dccp/wire"
)

// Tuple tells connections apart: addresses, the UDP ports around the packets
// (0 natively over IP; RFC 6773, Section 3.8), and the DCCP ports. It is
// comparable, as a map's key.
type Tuple struct {
	Local, Remote         netip.AddrPort
	LocalPort, RemotePort uint16
}

const tupleLen = 2*(16+2) + 4

func (t *Tuple) append(b []byte) []byte {
	for _, a := range [...]netip.AddrPort{t.Local, t.Remote} {
		ip := a.Addr().As16()
		b = append(b, ip[:]...)
		b = binary.BigEndian.AppendUint16(b, a.Port())
	}
	b = binary.BigEndian.AppendUint16(b, t.LocalPort)
	return binary.BigEndian.AppendUint16(b, t.RemotePort)
}

// Secret is 32 random octets that live as long as the process.
type Secret [32]byte

// NewISS is an initial sequence number for a connection that starts now: each
// tuple has its own space, which nobody without the secret can guess, and in it
// a clock of 4 us keeps away from what earlier connections sent (RFC 4340,
// Section 7.2, MUST; RFC 6528).
func NewISS(s *Secret, t Tuple, now time.Time) wire.Seq {
	return s.space(&t, 0).Add(now.UnixMicro() / 4)
}

// space is where a tuple's numbers start; purpose keeps uses of it apart.
func (s *Secret) space(t *Tuple, purpose byte) wire.Seq {
	b := make([]byte, 0, len(s)+tupleLen+1)
	b = append(b, s[:]...)
	b = t.append(b)
	sum := sha256.Sum256(append(b, purpose))
	return wire.MakeSeq(binary.BigEndian.Uint64(sum[:]))
}
