package carrier

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// gauge tells how full a socket's receive buffer is. One goroutine uses it.
type gauge struct {
	rc   syscall.RawConn
	ask  func(fd uintptr)
	info [16]uint32 // SO_MEMINFO
	have bool
}

func (g *gauge) open(rc syscall.RawConn) {
	g.rc = rc
	g.ask = func(fd uintptr) {
		size := uint32(unsafe.Sizeof(g.info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&g.info)), uintptr(unsafe.Pointer(&size)), 0)
		g.have = errno == 0 && size > sizeIndex*4
	}
}

const (
	usedIndex = 0 // SK_MEMINFO_RMEM_ALLOC
	sizeIndex = 1 // SK_MEMINFO_RCVBUF
)

// pressed: more than five sixteenths are in use. Linux gives memory back late, by
// a quarter of the buffer, so that less would be true of an empty one.
func (g *gauge) pressed() bool {
	if g.rc == nil {
		return false
	}
	g.have = false
	return g.rc.Control(g.ask) == nil && g.have && uint64(g.info[usedIndex])*16 > uint64(g.info[sizeIndex])*5
}
