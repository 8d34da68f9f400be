//go:build !linux

package doctor

import (
	"net"
	"syscall"
)

func openFiles() (uint64, bool)                          { return 0, false }
func disciplined() (synchronized, known bool)            { return false, false }
func mayForce() bool                                     { return false }
func kernelSCTP(bool) error                              { return syscall.EPROTONOSUPPORT }
func pathMTU(*net.UDPConn, bool) int                     { return 0 }
func space(string) (octets uint64, files int64, ok bool) { return 0, 0, false }
