package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
)

const (
	// sendMessages and sendDatagrams bound what one sendmmsg takes.
	sendMessages  = 64
	sendDatagrams = 256
	// maxSegments is the kernel's limit on a run (UDP_MAX_SEGMENTS; 128 in
	// newer ones).
	maxSegments = 64
	// sendControlWords holds UDP_SEGMENT and a source address.
	sendControlWords = 8
)

// A sender packs datagrams into messages, runs of equally long ones to one
// peer into one message for the kernel to cut.
type sender struct {
	trySend func(fd uintptr) bool // socket.send, bound once

	gso      bool // UDP_SEGMENT works
	gsoBelow int  // datagrams of this size and more are not cut by the kernel
	plain    int  // so many datagrams go one a message, as their run was refused

	hdrs     [sendMessages]unix.Mmsghdr
	iovs     [sendDatagrams]unix.Iovec
	names    [sendMessages]unix.RawSockaddrInet6
	control  [sendMessages][sendControlWords]uint64
	segments [sendMessages]int // datagrams in each message
	first, n int               // messages not yet taken: [first, n)
	errno    syscall.Errno
}

func (w *sender) init() {
	w.gsoBelow = 1 << 16
	for i := range w.hdrs {
		w.hdrs[i].Hdr.Control = (*byte)(unsafe.Pointer(&w.control[i]))
	}
}

// write sends what fits into one call and returns how many datagrams the
// system took; an error belongs to the one after those. Neither means: ask
// again.
func (s *socket) write(batch []transport.Datagram) (int, error) {
	w := &s.sender
	if w.trySend == nil {
		w.trySend = s.send
	}
	s.pack(batch)
	w.errno = 0
	err := s.rc.Write(w.trySend)
	taken := 0
	for i := range w.first {
		taken += w.segments[i]
	}
	w.plain = max(w.plain-taken, 0)
	if err != nil || w.errno == 0 {
		return taken, err
	}
	if run := w.segments[w.first]; run > 1 && s.refusedRun(w.errno, len(batch[taken].Data)) {
		w.plain = run
		return taken, nil
	}
	return taken, w.errno
}

// refusedRun decides whether a run that the kernel refused is to be sent
// again datagram by datagram.
func (w *sender) refusedRun(errno syscall.Errno, size int) bool {
	switch errno {
	case unix.EIO:
		// The device cannot compute checksums, so nothing can be cut.
		w.gso = false
	case unix.EINVAL:
		// Too large for the path, or for a kernel that fragments no runs.
		w.gsoBelow = min(w.gsoBelow, size)
	case unix.EMSGSIZE:
	default:
		return false
	}
	return true
}

// send hands over messages; false: the buffer is full, wait.
func (s *socket) send(fd uintptr) bool {
	w := &s.sender
	for w.first < w.n {
		var n uintptr
		var errno syscall.Errno
		if s.single {
			_, _, errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&w.hdrs[w.first].Hdr)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
			n = 1
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.hdrs[w.first])), uintptr(w.n-w.first), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		}
		switch errno {
		case 0:
			w.first += int(n)
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		case unix.ENOSYS:
			if s.single {
				w.errno = errno
				return true
			}
			s.single = true
		default:
			w.errno = errno
			return true
		}
	}
	return true
}

// pack lays out messages for the beginning of batch.
func (s *socket) pack(batch []transport.Datagram) {
	w := &s.sender
	w.first, w.n = 0, 0
	for i := 0; i < min(len(batch), sendDatagrams) && w.n < sendMessages; {
		run := 1
		if i >= w.plain {
			run = w.run(batch[i:min(len(batch), sendDatagrams)])
		}
		m := w.n
		h := &w.hdrs[m].Hdr
		for k := range run {
			iov := &w.iovs[i+k]
			iov.Base = unsafe.SliceData(batch[i+k].Data)
			iov.SetLen(len(batch[i+k].Data))
		}
		h.Iov = &w.iovs[i]
		h.SetIovlen(run)
		switch {
		case s.connected:
			h.Name, h.Namelen = nil, 0
		case m > 0 && batch[i].Peer == batch[i-1].Peer:
			w.names[m] = w.names[m-1]
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&w.names[m])), w.hdrs[m-1].Hdr.Namelen
		default:
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&w.names[m])), s.sockaddr(&w.names[m], batch[i].Peer)
		}
		size := 0
		if run > 1 {
			size = len(batch[i].Data)
		}
		s.sendControl(m, size, batch[i].Local)
		w.segments[m] = run
		w.n++
		i += run
	}
}

// run counts the datagrams at the front that may go as one message: to one
// peer, from one address, of one length; a shorter one ends it.
func (w *sender) run(batch []transport.Datagram) int {
	first := &batch[0]
	size := len(first.Data)
	if !w.gso || size == 0 || size >= w.gsoBelow {
		return 1
	}
	limit := min(len(batch), maxSegments, maxPayload4/size)
	n := 1
	for n < limit {
		d := &batch[n]
		if len(d.Data) > size || len(d.Data) == 0 || d.Peer != first.Peer || d.Local != first.Local {
			break
		}
		n++
		if len(d.Data) < size {
			break
		}
	}
	return n
}

// sendControl writes the control messages of message m: the length to cut at
// and the address to send from, as far as they are set.
func (s *socket) sendControl(m, size int, local netip.Addr) {
	h := &s.sender.hdrs[m].Hdr
	if size == 0 && (!local.IsValid() || s.connected) {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&s.sender.control[m])), sendControlWords*8)
	clear(buf)
	n := 0
	if size > 0 {
		binary.NativeEndian.PutUint16(cmsg(buf, &n, unix.SOL_UDP, unix.UDP_SEGMENT, 2), uint16(size))
	}
	switch local = local.Unmap(); {
	case !local.IsValid() || s.connected:
	case s.six:
		b := local.As16()
		copy(cmsg(buf, &n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo), b[:])
	case local.Is4():
		b := local.As4()
		copy(cmsg(buf, &n, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)[4:], b[:]) // ipi_spec_dst
	}
	h.Control = &buf[0]
	h.SetControllen(n)
}

// cmsg begins a control message of size octets at *n and returns its data.
func cmsg(buf []byte, n *int, level, typ int32, size int) []byte {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&buf[*n]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(size))
	data := buf[*n+unix.CmsgLen(0):][:size]
	*n += unix.CmsgSpace(size)
	return data
}

// sockaddr writes a peer as the socket's family wants it and returns its
// length. A peer of the other family cannot be written; the kernel refuses
// what comes out.
func (s *socket) sockaddr(sa *unix.RawSockaddrInet6, peer netip.AddrPort) uint32 {
	raw := (*[unsafe.Sizeof(*sa)]byte)(unsafe.Pointer(sa))
	*raw = [len(raw)]byte{}
	binary.BigEndian.PutUint16(raw[2:4], peer.Port())
	if !s.six {
		sa.Family = unix.AF_INET
		if a := peer.Addr().Unmap(); a.Is4() {
			b := a.As4()
			copy(raw[4:8], b[:])
		} else {
			sa.Family = unix.AF_INET6
		}
		return unix.SizeofSockaddrInet4
	}
	sa.Family = unix.AF_INET6
	sa.Addr = peer.Addr().As16()
	if zone := peer.Addr().Zone(); zone != "" {
		sa.Scope_id = scope(zone)
	}
	return unix.SizeofSockaddrInet6
}

// scope is the index of the interface a zone names.
func scope(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}
