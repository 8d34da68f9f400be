package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
)

// A Position is a place behind a message. Its zero value is before all.
type Position struct {
	serial  uint64 // of the segment
	offset  int64  // in it
	records uint64 // of whole messages in it, up to here
}

// The cursor file has two slots, written in turn, so that one of them is
// whole whenever the system stops:
//
//	generation 8 | serial 8 | offset 8 | records 8 | CRC-32 4
//
// The one with the higher generation counts. Losing the last of them costs a
// repetition.
const (
	cursorSlot = 64 // octets between the slots: no write touches both
	cursorLen  = 36
)

type cursor struct {
	f          *os.File
	generation uint64
	pos        Position
	buf        [cursorLen]byte
}

func openCursor(path string) (*cursor, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	c := &cursor{f: f}
	for slot := range int64(2) {
		var b [cursorLen]byte
		// A slot that is not there, or not whole, does not count.
		if n, _ := f.ReadAt(b[:], slot*cursorSlot); n == cursorLen {
			c.take(b[:])
		}
	}
	if info, err := f.Stat(); err == nil && info.Size() < cursorSlot+cursorLen {
		// The room is taken now, while there is some: the disk may be full
		// when something is delivered. If it is already, Ack tells.
		_, _ = f.WriteAt(make([]byte, cursorSlot+cursorLen-info.Size()), info.Size())
	}
	return c, nil
}

// take reads a slot if it is whole and newer than what is known.
func (c *cursor) take(b []byte) {
	sum := binary.BigEndian.Uint32(b[32:])
	generation := binary.BigEndian.Uint64(b)
	if crc32.ChecksumIEEE(b[:32]) != sum || generation <= c.generation {
		return
	}
	pos := Position{
		serial:  binary.BigEndian.Uint64(b[8:]),
		offset:  int64(binary.BigEndian.Uint64(b[16:])),
		records: binary.BigEndian.Uint64(b[24:]),
	}
	if pos.serial > maxSerial || pos.offset < 0 {
		return
	}
	c.generation, c.pos = generation, pos
}

// store makes pos the place up to which all is delivered.
func (c *cursor) store(pos Position) error {
	c.pos = pos
	c.generation++
	b := c.buf[:]
	binary.BigEndian.PutUint64(b, c.generation)
	binary.BigEndian.PutUint64(b[8:], pos.serial)
	binary.BigEndian.PutUint64(b[16:], uint64(pos.offset))
	binary.BigEndian.PutUint64(b[24:], pos.records)
	binary.BigEndian.PutUint32(b[32:], crc32.ChecksumIEEE(b[:32]))
	if _, err := c.f.WriteAt(b, int64(c.generation%2)*cursorSlot); err != nil {
		return fmt.Errorf("cursor: %w", err)
	}
	return nil
}
