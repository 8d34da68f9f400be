package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	blockSize       = 1 << 20 // a multiple of the page size, room for many packets
	defaultRingSize = 32 << 20
	maxRingSize     = 1 << 30
	defaultLatency  = 50 * time.Millisecond
	// frameSize has to be given, but TPACKET_V3 packs packets as they come.
	frameSize = 2048
	// vlanTagLen is kept free before each packet, to put back the tag that
	// the kernel or the card took out.
	vlanTagLen = 4
)

// ARPHRD_ numbers of link layers that come with an Ethernet header.
const (
	arphrdEthernet = 1
	arphrdLoopback = 772
)

// Ring is a live capture of one interface: a ring of blocks that the kernel
// fills and Next reads in place. One goroutine calls Next; Stats and
// SetReadDeadline may be called by any.
//
//	     +---------+---------+---------+
//	ring | block 0 | block 1 |   ...   |   status: kernel's / ours
//	     +---------+---------+---------+
//	        packet, packet, ... by Next_offset
type Ring struct {
	file  *os.File
	raw   syscall.RawConn
	iface *net.Interface
	link  LinkType
	mem   []byte

	blocks int
	block  int // the one we read or wait for
	left   uint32
	next   int // offset in mem of the next packet's header
	held   bool

	packets, skipped atomic.Uint64
	mu               sync.Mutex // of what PACKET_STATISTICS told: reading resets it
	drops, freezes   uint64
}

// Live starts to capture the packets that an interface receives and sends.
func Live(name string, cfg LiveConfig) (*Ring, error) {
	ifi, err := findInterface(name)
	if err != nil {
		return nil, err
	}
	r := &Ring{iface: ifi, link: LinkEthernet}
	if err := r.open(cfg); err != nil {
		_ = r.Close()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			err = ErrNoCapability
		}
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	return r, nil
}

func (r *Ring) open(cfg LiveConfig) error {
	// Protocol 0: nothing is received before the ring stands and bind says
	// what we want.
	fd, err := r.socket(unix.SOCK_RAW)
	if err != nil {
		return err
	}
	if err := r.setUp(fd, cfg); err != nil {
		_ = unix.Close(fd)
		return err
	}
	// A non-blocking descriptor waits in the runtime's poller.
	r.file = os.NewFile(uintptr(fd), "packet:"+r.iface.Name)
	r.raw, err = r.file.SyscallConn()
	return err
}

// socket opens a raw socket where there is an Ethernet header. Other devices
// (tun, ppp, tunnels) are opened above their link layer.
func (r *Ring) socket(typ int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if typ == unix.SOCK_DGRAM {
		return fd, nil
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: r.iface.Index}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("getsockname", err)
	}
	if ll, ok := sa.(*unix.SockaddrLinklayer); ok && ll.Hatype != arphrdEthernet && ll.Hatype != arphrdLoopback {
		_ = unix.Close(fd)
		r.link = LinkRaw
		return r.socket(unix.SOCK_DGRAM)
	}
	return fd, nil
}

func (r *Ring) setUp(fd int, cfg LiveConfig) error {
	size := cfg.RingSize
	if size <= 0 {
		size = defaultRingSize
	}
	r.blocks = max((min(size, maxRingSize)+blockSize-1)/blockSize, 2)
	latency := cfg.Latency
	if latency <= 0 {
		latency = defaultLatency
	}
	set := func(what string, opt, value int) error {
		return os.NewSyscallError(what, unix.SetsockoptInt(fd, unix.SOL_PACKET, opt, value))
	}
	if err := set("TPACKET_V3", unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err
	}
	if err := set("PACKET_RESERVE", unix.PACKET_RESERVE, vlanTagLen); err != nil {
		return err
	}
	req := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: uint32(r.blocks),
		Frame_size: frameSize, Frame_nr: uint32(r.blocks * (blockSize / frameSize)),
		Retire_blk_tov: uint32(max(latency.Milliseconds(), 1)),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return os.NewSyscallError("PACKET_RX_RING", err)
	}
	var err error
	if r.mem, err = unix.Mmap(fd, 0, r.blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if cfg.Promiscuous {
		mreq := unix.PacketMreq{Ifindex: int32(r.iface.Index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
			return os.NewSyscallError("PACKET_MR_PROMISC", err)
		}
	}
	// Bind last: from here on packets come in.
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: r.iface.Index}))
}

// SetReadDeadline makes a Next that waits return os.ErrDeadlineExceeded at t,
// also one that waits already: so it is stopped. The zero time never comes.
func (r *Ring) SetReadDeadline(t time.Time) error { return r.file.SetReadDeadline(t) }

// Interface is the interface's index and name.
func (r *Ring) Interface() (uint32, string) { return uint32(r.iface.Index), r.iface.Name }

// Stats returns the counters.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raw != nil {
		_ = r.raw.Control(func(fd uintptr) {
			if s, err := unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
				r.drops += uint64(s.Drops)
				r.freezes += uint64(s.Freeze_q_cnt)
			}
		})
	}
	return Stats{Packets: r.packets.Load(), Drops: r.drops, Freezes: r.freezes, Skipped: r.skipped.Load()}
}

// Close ends the capture. The goroutine that calls Next calls it, or has
// ended: the data of the last packet is gone.
func (r *Ring) Close() error {
	r.Stats() // the last drops
	var err error
	if r.file != nil {
		err = r.file.Close()
	}
	// The mapping keeps the socket alive in the kernel: both have to go.
	if r.mem != nil {
		err = errors.Join(err, unix.Munmap(r.mem))
		r.mem = nil
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
