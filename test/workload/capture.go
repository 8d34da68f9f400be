package workload

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
)

// Capture writes a pcap file of TCP biflows whose packets come in no order,
// 100 k a second, 54 octets of each kept.
func Capture(path string, packets, biflows int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = w.Write([]byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0})
	rng := rand.New(rand.NewPCG(1, 2))
	frame := make([]byte, 16+54)
	copy(frame[16:], []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6})
	le, be := binary.LittleEndian, binary.BigEndian
	for i := 0; i < packets && err == nil; i++ {
		us := uint64(i) * 10
		flow := rng.Uint32N(uint32(biflows))
		length := 54 + rng.IntN(1460)
		le.PutUint32(frame, uint32(1_700_000_000+us/1e6))
		le.PutUint32(frame[4:], uint32(us%1e6))
		le.PutUint32(frame[8:], 54)
		le.PutUint32(frame[12:], uint32(length))
		ip := frame[16+14:]
		be.PutUint16(ip[2:], uint16(length-14))
		src, dst := ip[12:16], ip[16:20]
		sport, dport := ip[20:22], ip[22:24]
		if rng.IntN(2) == 0 {
			src, dst, sport, dport = dst, src, dport, sport
		}
		be.PutUint32(src, 0x0a000000+flow)
		be.PutUint32(dst, 0xc0000200+flow%200)
		be.PutUint16(sport, uint16(1024+flow%60000))
		be.PutUint16(dport, 443)
		ip[32], ip[33] = 0x50, 0x10
		_, err = w.Write(frame)
	}
	return errors.Join(err, w.Flush(), f.Close())
}
