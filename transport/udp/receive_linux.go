package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
)

const (
	// receiveMessages is how many messages one recvmmsg fetches; each may
	// hold a run of datagrams of one peer. A connected socket gets little:
	// answers to probes.
	receiveMessages  = 32
	receiveOfOnePeer = 4
	// receiveSize holds the longest run that UDP_GRO makes. What is never
	// filled is never backed by memory.
	receiveSize = 64 << 10
	// receiveStride parts the buffers so that their beginnings do not all
	// fall into the same lines of the cache.
	receiveStride = receiveSize + 4096 + 192
	// controlWords holds all control messages asked for: GRO size, drops,
	// destination address; 8 octets a word, for the alignment.
	controlWords = 16
)

// A receiver fetches messages and hands out the datagrams in them.
type receiver struct {
	try    func(fd uintptr) bool // receiver.recv, bound once: no closure per call
	remote netip.AddrPort        // of a connected socket

	hdrs    [receiveMessages]unix.Mmsghdr
	iovs    [receiveMessages]unix.Iovec
	names   [receiveMessages]unix.RawSockaddrInet6
	control [receiveMessages][controlWords]uint64
	buffers []byte // of the messages in use

	messages int // in use
	fetched  int // messages of the last call
	errno    error
	next     int // message to hand out
	run      run // what is left of the message before it
	pace     pace

	zones zones
}

// run is a message of one or more datagrams of equal length; only the last
// may be shorter.
type run struct {
	data  []byte
	size  int // of each datagram
	left  bool
	peer  netip.AddrPort
	local netip.Addr
}

func (r *receiver) init(remote netip.AddrPort) {
	r.remote = remote
	r.messages = receiveMessages
	if remote.IsValid() {
		r.messages = receiveOfOnePeer
	}
	r.buffers = make([]byte, r.messages*receiveStride)
	for i := range r.messages {
		r.iovs[i].Base = &r.buffers[i*receiveStride]
		r.iovs[i].SetLen(receiveSize)
		h := &r.hdrs[i].Hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
		r.reset(i)
	}
}

// reset restores what the kernel overwrites in a header.
func (r *receiver) reset(i int) {
	h := &r.hdrs[i].Hdr
	h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	h.SetControllen(int(unsafe.Sizeof(r.control[i])))
	h.Flags = 0
}

// read fills dst with datagrams, waiting for the first.
func (s *socket) read(dst []transport.Datagram) (int, error) {
	r := &s.receiver
	if r.try == nil {
		r.try = s.recv
	}
	if !r.run.left && r.next == r.fetched {
		octets := 0
		for i := range r.fetched {
			octets += int(r.hdrs[i].Len)
			r.reset(i)
		}
		// Without recvmmsg nothing tells that the socket is empty.
		if s.detached != nil && !s.single && r.pace.rest(time.Now(), r.fetched, octets, r.fetched < r.messages, s.buffer) {
			s.detached.rest(restTime)
		}
		r.next, r.fetched = 0, 0
		if err := s.rc.Read(r.try); err != nil {
			return 0, err
		}
		if r.errno != nil {
			return 0, r.errno
		}
	}
	n := 0
	for n < len(dst) {
		if !r.run.left {
			if r.next == r.fetched {
				break
			}
			s.begin(r.next)
			r.next++
		}
		r.run.take(&dst[n])
		n++
	}
	return n, nil
}

// recv asks once; false: there is nothing, wait.
func (s *socket) recv(fd uintptr) bool {
	r := &s.receiver
	r.errno = nil
	for {
		var n uintptr
		var errno syscall.Errno
		if s.single {
			n, _, errno = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0].Hdr)), unix.MSG_DONTWAIT)
			r.hdrs[0].Len = uint32(n)
			n = 1
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), uintptr(r.messages), unix.MSG_DONTWAIT, 0, 0)
		}
		switch errno {
		case 0:
			r.fetched = int(n)
			return true
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		case unix.ENOSYS:
			if s.single {
				r.errno = errno
				return true
			}
			s.single = true
		default:
			r.errno = errno
			return true
		}
	}
}

// begin makes message i the run to hand out.
func (s *socket) begin(i int) {
	r := &s.receiver
	at := i * receiveStride
	n := min(int(r.hdrs[i].Len), receiveSize)
	r.run = run{data: r.buffers[at : at+n], size: n, left: true, peer: r.remote}
	if !r.remote.IsValid() {
		r.run.peer = r.peer(i)
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r.control[i])), min(int(r.hdrs[i].Hdr.Controllen), controlWords*8))
	for len(b) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return
		}
		s.controlMessage(h, data)
		b = rest
	}
}

func (s *socket) controlMessage(h unix.Cmsghdr, data []byte) {
	r := &s.receiver
	switch {
	case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
		if size := int(binary.NativeEndian.Uint32(data)); size > 0 {
			r.run.size = size
		}
	case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
		s.drops.observe(binary.NativeEndian.Uint32(data))
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		r.run.local = unicast(netip.AddrFrom4([4]byte(data[4:8]))) // ipi_spec_dst
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		r.run.local = unicast(netip.AddrFrom16([16]byte(data[:16])).Unmap())
	}
}

// unicast drops addresses that nothing can be sent from.
func unicast(a netip.Addr) netip.Addr {
	if a.IsMulticast() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// take hands out the next datagram. An empty one is one as well.
func (u *run) take(d *transport.Datagram) {
	n := len(u.data)
	if u.size < n {
		n = u.size
	}
	d.Peer, d.Local, d.Data = u.peer, u.local, u.data[:n:n]
	u.data = u.data[n:]
	u.left = len(u.data) > 0
}

// peer reads the raw address of message i.
func (r *receiver) peer(i int) netip.AddrPort {
	sa := &r.names[i]
	raw := (*[unsafe.Sizeof(*sa)]byte)(unsafe.Pointer(sa))
	port := binary.BigEndian.Uint16(raw[2:4])
	switch sa.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), port)
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 && a.Is6() {
			a = a.WithZone(r.zones.name(sa.Scope_id))
		}
		return netip.AddrPortFrom(a, port)
	}
	return netip.AddrPort{}
}

// zones turns scope ids of link-local peers into zones; peers behind one link
// are the rule.
type zones struct {
	id   uint32
	zone string
}

func (z *zones) name(id uint32) string {
	if z.id != id {
		// The number, not the interface's name: that may change while a
		// session lives, and asking for it is slow.
		z.id, z.zone = id, strconv.FormatUint(uint64(id), 10)
	}
	return z.zone
}
