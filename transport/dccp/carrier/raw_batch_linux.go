package carrier

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/wire"
)

const (
	// batchSize is how many packets one system call moves.
	batchSize = 32
	// packetSize holds any IP packet. What is never filled is never backed by
	// memory; the odd rest parts the buffers' cache lines.
	packetSize   = 64<<10 + 4096 + 192
	controlWords = 8
)

// headers are what recvmmsg and sendmmsg are given, laid out once.
type headers struct {
	hdrs    [batchSize]unix.Mmsghdr
	iovs    [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet6
	control [batchSize][controlWords]uint64
	single  bool // no recvmmsg and sendmmsg: one packet a call
	n       int  // messages laid out
	done    int  // of them, moved by the last call
	errno   syscall.Errno
}

func (h *headers) init() {
	for i := range h.hdrs {
		m := &h.hdrs[i].Hdr
		m.Iov = &h.iovs[i]
		m.SetIovlen(1)
	}
}

// call moves messages; false: none now, wait.
func (h *headers) call(fd, many, one uintptr) bool {
	h.done, h.errno = 0, 0
	for {
		var n uintptr
		var errno syscall.Errno
		if h.single {
			n, _, errno = unix.Syscall(one, fd, uintptr(unsafe.Pointer(&h.hdrs[0].Hdr)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			h.hdrs[0].Len = uint32(n)
			n = 1
		} else {
			n, _, errno = unix.Syscall6(many, fd, uintptr(unsafe.Pointer(&h.hdrs[0])), uintptr(h.n), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		}
		switch {
		case errno == 0:
			h.done = int(n)
			return true
		case errno == unix.EAGAIN:
			return false
		case errno == unix.EINTR:
		case errno == unix.ENOSYS && !h.single:
			h.single = true
		default:
			h.errno = errno
			return true
		}
	}
}

type receiver struct {
	headers
	try     func(fd uintptr) bool // bound once: no closure a call
	buffers []byte
	next    int // message to hand out
	zones   zones
	drops   atomic.Uint64
}

func (v *receiver) init() {
	v.headers.init()
	v.n = batchSize
	v.buffers = make([]byte, batchSize*packetSize)
	for i := range batchSize {
		v.iovs[i].Base = &v.buffers[i*packetSize]
		v.iovs[i].SetLen(packetSize)
		v.hdrs[i].Hdr.Name = (*byte)(unsafe.Pointer(&v.names[i]))
		v.hdrs[i].Hdr.Control = (*byte)(unsafe.Pointer(&v.control[i]))
	}
	v.try = func(fd uintptr) bool {
		for i := range v.n {
			m := &v.hdrs[i].Hdr
			m.Namelen = uint32(unsafe.Sizeof(v.names[i]))
			m.SetControllen(int(unsafe.Sizeof(v.control[i])))
			m.Flags = 0
		}
		return v.call(fd, unix.SYS_RECVMMSG, unix.SYS_RECVMSG)
	}
}

// read fills dst with packets that stand the checks; none may be left.
func (r *Raw) read(dst []transport.Datagram) (n int, err error) {
	v := &r.receiver
	if v.next == v.done {
		v.next, v.done = 0, 0
		if err := r.rc.Read(v.try); err != nil {
			return 0, err
		}
		if v.errno != 0 {
			return 0, v.errno
		}
	}
	for n < len(dst) && v.next < v.done {
		i := v.next
		v.next++
		if r.take(&dst[n], i) {
			n++
		}
	}
	return n, nil
}

// take hands out message i, unless there is something wrong with it.
func (r *Raw) take(d *transport.Datagram, i int) bool {
	v := &r.receiver
	b := v.buffers[i*packetSize:][:v.hdrs[i].Len]
	src := rawName(&v.names[i], &v.zones)
	dst := v.read(i, r.local)
	if !r.six {
		// An IPv4 socket hands the IP header over as well.
		if len(b) < headers4 || int(b[0]&0xf)*4 > len(b) {
			r.short.Add(1)
			return false
		}
		dst = netip.AddrFrom4([4]byte(b[16:20]))
		b = b[int(b[0]&0xf)*4:]
	}
	if len(b) < wire.MinHeader {
		r.short.Add(1)
		return false
	}
	// A packet with a wrong checksum is ignored (RFC 4340, Section 9, MUST).
	if wire.VerifyChecksum(b, src, dst) != nil {
		r.checksum.Add(1)
		return false
	}
	*d = transport.Datagram{Peer: netip.AddrPortFrom(src, 0), Local: dst, Data: b[:len(b):len(b)]}
	return true
}

// read reads the control messages of message i: the address it came to, of
// IPv6 alone, and how many packets found no room before it.
func (v *receiver) read(i int, local netip.Addr) netip.Addr {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&v.control[i])), min(int(v.hdrs[i].Hdr.Controllen), controlWords*8))
	for len(b) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			local = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			// The kernel's count has 32 bits and only grows.
			old := v.drops.Load()
			v.drops.Store(old + uint64(binary.NativeEndian.Uint32(data)-uint32(old)))
		}
		b = rest
	}
	return local
}

type sender struct {
	headers
	try  func(fd uintptr) bool
	from netip.Addr // the source of packets for to
	to   netip.Addr
}

func (w *sender) init() {
	w.headers.init()
	w.try = func(fd uintptr) bool { return w.call(fd, unix.SYS_SENDMMSG, unix.SYS_SENDMSG) }
}

var errFamily = errors.New("the peer's address is of the other IP version")

// write hands over what one call takes; an error belongs to the packet after
// those.
func (r *Raw) write(batch []transport.Datagram) (int, error) {
	w := &r.sender
	batch = batch[:min(len(batch), batchSize)]
	if r.sender.single {
		batch = batch[:1]
	}
	for i := range batch {
		d := &batch[i]
		if len(d.Data) < wire.MinHeader {
			return i, errShort
		}
		src, err := r.source(d)
		if err != nil {
			return 0, err
		}
		dst := d.Peer.Addr()
		if r.remote.IsValid() {
			dst = r.remote
		}
		if dst.Is4() == r.six {
			return 0, errFamily
		}
		wire.SetChecksum(d.Data, src, dst)
		w.iovs[i].Base = &d.Data[0]
		w.iovs[i].SetLen(len(d.Data))
		r.address(i, src, dst)
	}
	w.n = len(batch)
	if err := r.rc.Write(w.try); err != nil {
		return 0, err
	}
	if w.errno != 0 {
		return 0, w.errno
	}
	return w.done, nil
}

var errShort = errors.New("shorter than a dccp header")

// source is the address that a packet leaves from: the checksum covers it.
func (r *Raw) source(d *transport.Datagram) (netip.Addr, error) {
	switch {
	case d.Local.IsValid():
		return d.Local, nil
	case !r.local.IsUnspecified():
		return r.local, nil
	}
	w := &r.sender
	if peer := d.Peer.Addr(); w.to != peer {
		from, err := r.Source(peer)
		if err != nil {
			return netip.Addr{}, err
		}
		w.from, w.to = from, peer
	}
	return w.from, nil
}

// address writes the addresses of message i.
func (r *Raw) address(i int, src, dst netip.Addr) {
	w := &r.sender
	m := &w.hdrs[i].Hdr
	m.Name, m.Namelen, m.Control = nil, 0, nil
	m.SetControllen(0)
	if r.remote.IsValid() {
		return
	}
	sa := &w.names[i]
	*sa = unix.RawSockaddrInet6{}
	m.Name = (*byte)(unsafe.Pointer(sa))
	if r.six {
		sa.Family, sa.Addr, m.Namelen = unix.AF_INET6, dst.As16(), unix.SizeofSockaddrInet6
		if zone := dst.Zone(); zone != "" {
			sa.Scope_id = scope(zone)
		}
	} else {
		b := dst.As4()
		sa.Family, sa.Flowinfo, m.Namelen = unix.AF_INET, binary.NativeEndian.Uint32(b[:]), unix.SizeofSockaddrInet4
	}
	if !r.local.IsUnspecified() {
		return
	}
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&w.control[i])), controlWords*8)
	clear(buf)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&buf[0]))
	data := buf[unix.CmsgLen(0):]
	if r.six {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		b := src.As16()
		copy(data, b[:])
		m.SetControllen(unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	} else {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		b := src.As4()
		copy(data[4:], b[:]) // ipi_spec_dst
		m.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	}
	m.Control = &buf[0]
}
