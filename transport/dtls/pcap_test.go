package dtls

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"testing"
)

// pcapFile collects datagrams as a capture of raw IPv4.
type pcapFile struct {
	name string
	mu   sync.Mutex
	b    []byte
	n    uint32
}

func newPcap(t *testing.T, name string) *pcapFile {
	t.Helper()
	p := &pcapFile{name: name}
	for _, v := range []uint32{0xA1B2C3D4, 4<<16 | 2, 0, 0, 65535, 101} { // 101: raw IP
		p.b = binary.BigEndian.AppendUint32(p.b, v)
	}
	return p
}

func (p *pcapFile) add(from, to netip.AddrPort, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	size := uint32(28 + len(data))
	for _, v := range []uint32{p.n, 0, size, size} {
		p.b = binary.BigEndian.AppendUint32(p.b, v)
	}
	p.b = append(p.b, 0x45, 0, byte(size>>8), byte(size), 0, 0, 0x40, 0, 64, 17, 0, 0)
	p.b = append(append(p.b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	p.b = binary.BigEndian.AppendUint16(p.b, from.Port())
	p.b = binary.BigEndian.AppendUint16(p.b, to.Port())
	p.b = binary.BigEndian.AppendUint16(p.b, uint16(8+len(data)))
	p.b = append(p.b, 0, 0)
	p.b = append(p.b, data...)
}

func (p *pcapFile) close(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := os.WriteFile(p.name, p.b, 0o600); err != nil {
		t.Fatal(err)
	}
}
