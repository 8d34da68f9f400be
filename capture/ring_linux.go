package capture

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// header returns the structure at an offset of the ring, which the kernel
// aligns to 16 octets.
func header[T any](mem []byte, off int) *T {
	return (*T)(unsafe.Pointer(&mem[off : off+int(unsafe.Sizeof(*new(T)))][0]))
}

// blockHeader is the tpacket_block_desc with its tpacket_hdr_v1.
type blockHeader struct {
	_       [2]uint32 // version, offset of private data
	status  uint32    // ours if TP_STATUS_USER is set, else the kernel's
	packets uint32
	first   uint32 // offset of the first packet
	_       uint32 // length
}

func (r *Ring) current() *blockHeader { return header[blockHeader](r.mem, r.block*blockSize) }

// ready tells whether the kernel has handed over the current block. The load
// orders it before what we read of the block.
func (r *Ring) ready() bool {
	return atomic.LoadUint32(&r.current().status)&unix.TP_STATUS_USER != 0
}

// release gives the current block back and goes on to the next.
func (r *Ring) release() {
	atomic.StoreUint32(&r.current().status, unix.TP_STATUS_KERNEL)
	r.held = false
	r.block = (r.block + 1) % r.blocks
}

// Next waits for a packet. Its data lies in the ring and is valid until the
// next call. After SetReadDeadline's time it returns os.ErrDeadlineExceeded;
// that is no end: a later Next goes on.
func (r *Ring) Next() (Packet, error) {
	if r.mem == nil {
		return Packet{}, os.ErrClosed
	}
	for {
		for r.left == 0 {
			if r.held {
				r.release()
			}
			if err := r.wait(); err != nil {
				return Packet{}, err
			}
			b := r.current()
			r.held = true
			r.left = b.packets
			r.next = r.block*blockSize + int(b.first)
		}
		var p Packet
		if r.packet(&p) {
			r.packets.Add(1)
			return p, nil
		}
		r.skipped.Add(1)
	}
}

// wait returns once the current block is ours.
func (r *Ring) wait() error {
	for !r.ready() {
		down := false
		err := r.raw.Read(func(fd uintptr) bool {
			down = !r.ready() && isDown(int(fd))
			return down || r.ready()
		})
		if errors.Is(err, os.ErrDeadlineExceeded) && r.ready() {
			return nil // it came while this process stood still
		}
		if err != nil {
			return err
		}
		if down && r.vanished() {
			return os.NewSyscallError("packet socket", unix.ENODEV)
		}
	}
	return nil
}

// isDown takes the error that an interface leaves at its sockets when it goes
// down. It may come up again.
func isDown(fd int) bool {
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && e == int(unix.ENETDOWN)
}

// vanished tells whether an interface that went down was removed. The kernel
// takes it down first and does not wake us for the removal, so we look for a
// second.
func (r *Ring) vanished() bool {
	for range 50 {
		var gone bool
		err := r.raw.Control(func(fd uintptr) {
			sa, err := unix.Getsockname(int(fd))
			ll, ok := sa.(*unix.SockaddrLinklayer)
			gone = err == nil && ok && ll.Ifindex != r.iface.Index
		})
		if gone || err != nil || r.ready() {
			return gone
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// packet takes the next packet of the current block; false: one to skip.
func (r *Ring) packet(p *Packet) bool {
	start := r.next
	h := header[unix.Tpacket3Hdr](r.mem, start)
	r.left--
	r.next += int(h.Next_offset)
	ll := header[unix.RawSockaddrLinklayer](r.mem, start+unix.SizeofTpacket3Hdr)
	if ll.Hatype == arphrdLoopback && ll.Pkttype == unix.PACKET_OUTGOING {
		return false // it comes in again
	}
	at := start + int(h.Mac)
	length := int(h.Len)
	if r.link == LinkRaw {
		at = start + int(h.Net)
		if ll.Protocol != networkOrder(unix.ETH_P_IP) && ll.Protocol != networkOrder(unix.ETH_P_IPV6) {
			return false
		}
	}
	end := at + int(h.Snaplen)
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 && r.link == LinkEthernet && h.Snaplen >= 12 {
		tpid := uint16(unix.ETH_P_8021Q)
		if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = h.Hv1.Vlan_tpid
		}
		// The reserved octets stand before the addresses: those move there.
		copy(r.mem[at-vlanTagLen:], r.mem[at:at+12])
		at -= vlanTagLen
		binary.BigEndian.PutUint16(r.mem[at+12:], tpid)
		binary.BigEndian.PutUint16(r.mem[at+14:], uint16(h.Hv1.Vlan_tci))
		length += vlanTagLen
	}
	*p = Packet{
		Time:      int64(h.Sec)*1e9 + int64(h.Nsec),
		Data:      r.mem[at:end:end],
		Length:    length,
		Interface: uint32(ll.Ifindex),
		Link:      r.link,
	}
	return true
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
