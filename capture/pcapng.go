package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Block types of draft-ietf-opsawg-pcapng.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockObsolete  = 2
	blockSimple    = 3
	blockEnhanced  = 6
)

const (
	// maxBlock bounds the blocks that are read as a whole: a packet and
	// its options. Others are passed over whatever their length.
	maxBlock = maxCapture + 64<<10
	// maxInterfaces bounds what a section can make us remember; Linux hosts
	// with containers have hundreds.
	maxInterfaces = 1 << 16
)

// pcapngState is what the current section has said.
type pcapngState struct {
	big    bool
	ifaces []pcapngInterface
}

type pcapngInterface struct {
	link    LinkType
	snaplen uint32
	clock   clock
}

func (s *pcapngState) u16(b []byte) uint16 {
	if s.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (s *pcapngState) u32(b []byte) uint32 {
	if s.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (s *pcapngState) u64(b []byte) uint64 {
	if s.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// nextBlock reads blocks up to and including the next packet.
func (r *Reader) nextBlock(p *Packet) error {
	for {
		b, err := r.win.need(8)
		if err != nil {
			if err == io.EOF { //nolint:errorlint // the window returns io.EOF itself
				return err
			}
			return r.fault("block header", err)
		}
		s := &r.pcapng
		typ := s.u32(b)
		if typ == blockSection {
			if err := r.sectionOrder(); err != nil {
				return err
			}
			b, _ = r.win.need(8)
		}
		total := s.u32(b[4:])
		if total < 12 || total%4 != 0 {
			return r.fault("block length", fmt.Errorf("%d, not a multiple of 4 from 12 on", total))
		}
		switch typ {
		case blockSection, blockInterface, blockObsolete, blockSimple, blockEnhanced:
		default:
			start := r.win.offset
			if err := r.win.skip(int64(total)); err != nil {
				r.win.offset = start // of the block, not of the file's end
				return r.fault("block", err)
			}
			continue
		}
		if total > maxBlock {
			return r.fault("block length", fmt.Errorf("%d, more than %d", total, maxBlock))
		}
		if b, err = r.win.need(int(total)); err != nil {
			return r.fault("block", err)
		}
		if end := s.u32(b[total-4:]); end != total {
			return r.fault("block length", fmt.Errorf("%d in front, %d at the end", total, end))
		}
		found, err := r.block(typ, b[8:total-4], p)
		if err != nil {
			return err
		}
		r.win.advance(int(total))
		if found {
			r.last = p.Time
			return nil
		}
	}
}

// block takes the body of a block; it tells whether that was a packet.
func (r *Reader) block(typ uint32, b []byte, p *Packet) (bool, error) {
	switch typ {
	case blockSection:
		return false, r.section(b)
	case blockInterface:
		return false, r.iface(b)
	case blockSimple:
		return true, r.simple(b, p)
	}
	return true, r.packet(typ, b, p)
}

var errBlockShort = errors.New("block too short")

// sectionOrder learns the byte order, which a section header may change
// before its length can be read.
func (r *Reader) sectionOrder() error {
	b, err := r.win.need(12)
	if err != nil {
		return r.fault("section header", err)
	}
	switch uint32(magicByteOrder) {
	case binary.BigEndian.Uint32(b[8:]):
		r.pcapng.big = true
	case binary.LittleEndian.Uint32(b[8:]):
		r.pcapng.big = false
	default:
		return r.fault("byte-order magic", fmt.Errorf("%#08x", binary.BigEndian.Uint32(b[8:])))
	}
	return nil
}

func (r *Reader) section(b []byte) error {
	if len(b) < 16 {
		return r.fault("section header", errBlockShort)
	}
	s := &r.pcapng
	if major := s.u16(b[4:]); major != 1 {
		return r.fault("version", fmt.Errorf("%d.%d, want 1.x", major, s.u16(b[6:])))
	}
	s.ifaces = s.ifaces[:0] // interfaces are numbered anew
	return nil
}

// Options of an interface description.
const (
	optEnd      = 0
	optTsResol  = 9
	optTsOffset = 14
)

func (r *Reader) iface(b []byte) error {
	s := &r.pcapng
	if len(b) < 8 {
		return r.fault("interface description", errBlockShort)
	}
	if len(s.ifaces) >= maxInterfaces {
		return r.fault("interface description", fmt.Errorf("more than %d interfaces", maxInterfaces))
	}
	i := pcapngInterface{link: LinkType(s.u16(b)), snaplen: s.u32(b[4:])}
	resolution, offset := byte(6), int64(0)
	for o := b[8:]; len(o) >= 4; {
		code, n := s.u16(o), int(s.u16(o[2:]))
		padded := 4 + (n+3)&^3
		if code == optEnd {
			break
		}
		if padded > len(o) {
			return r.fault("interface option", errBlockShort)
		}
		switch {
		case code == optTsResol && n == 1:
			resolution = o[4]
		case code == optTsOffset && n == 8:
			offset = int64(s.u64(o[4:]))
		}
		o = o[padded:]
	}
	var ok bool
	if i.clock, ok = newClock(resolution, offset); !ok {
		return r.fault("if_tsresol", fmt.Errorf("%#02x is finer than 64 bits can tell", resolution))
	}
	s.ifaces = append(s.ifaces, i)
	return nil
}

// packet reads an Enhanced Packet Block or its obsolete forerunner.
func (r *Reader) packet(typ uint32, b []byte, p *Packet) error {
	s := &r.pcapng
	if len(b) < 20 {
		return r.fault("packet block", errBlockShort)
	}
	number := s.u32(b)
	if typ == blockObsolete {
		number = uint32(s.u16(b)) // a drop count follows
	}
	if number >= uint32(len(s.ifaces)) {
		return r.fault("interface", fmt.Errorf("number %d of %d described", number, len(s.ifaces)))
	}
	captured := s.u32(b[12:])
	if captured > uint32(len(b)-20) || captured > maxCapture {
		return r.fault("captured length", fmt.Errorf("%d octets in a block that has room for %d", captured, len(b)-20))
	}
	i := &s.ifaces[number]
	*p = Packet{
		Time:      i.clock.time(uint64(s.u32(b[4:]))<<32 | uint64(s.u32(b[8:]))),
		Data:      b[20 : 20+captured : 20+captured],
		Length:    wireLength(captured, s.u32(b[16:])),
		Interface: number + 1,
		Link:      i.link,
	}
	return nil
}

// simple reads a Simple Packet Block: of the first interface, without a time.
// It gets that of the packet before.
func (r *Reader) simple(b []byte, p *Packet) error {
	s := &r.pcapng
	if len(b) < 4 {
		return r.fault("packet block", errBlockShort)
	}
	if len(s.ifaces) == 0 {
		return r.fault("interface", errors.New("none described"))
	}
	i := &s.ifaces[0]
	length := s.u32(b)
	captured := min(length, uint32(len(b)-4))
	if i.snaplen != 0 {
		captured = min(captured, i.snaplen)
	}
	if captured < length && (i.snaplen == 0 || captured < i.snaplen) {
		return r.fault("packet length", fmt.Errorf("%d octets in a block that has room for %d", length, len(b)-4))
	}
	if captured > maxCapture {
		return r.fault("packet length", fmt.Errorf("%d octets, more than %d", captured, maxCapture))
	}
	*p = Packet{
		Time:      r.last,
		Data:      b[4 : 4+captured : 4+captured],
		Length:    wireLength(captured, length),
		Interface: 1,
		Link:      i.link,
	}
	return nil
}
