package doctor

import (
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"ipfixsuite/endpoint"
	"ipfixsuite/transport"
	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/kernel"
)

// What is wanted of a host.
const (
	// leastBuffer is Linux's own default of net.core.rmem_max and wmem_max.
	leastBuffer = 212992
	// leastFiles leaves room for a session to each of some exporters.
	leastFiles = 1024
)

// Host looks at what is the same for all endpoints. receive is the buffer a
// collector asks the kernel for, in octets; 0: none.
func Host(s *Section, receive int, now time.Time) {
	if os.Geteuid() == 0 {
		s.OK("user", "root, who may read and do what the service may not: ask as its user too")
	} else {
		s.OK("user", "%d", os.Geteuid())
	}
	clock(s, now)
	buffers(s, receive)
	if limit, ok := openFiles(); ok {
		if limit < leastFiles {
			s.Warn("open files", "ulimit -n, or LimitNOFILE= in the unit", "%d at most: each session of a stream transport needs one", limit)
		} else {
			s.OK("open files", "%d at most", limit)
		}
	}
}

// clock holds the time against the age of this program: a host without a clock
// of its own begins in the past.
func clock(s *Section, now time.Time) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, kv := range info.Settings {
			if built, err := time.Parse(time.RFC3339, kv.Value); kv.Key == "vcs.time" && err == nil && now.Before(built) {
				s.Fail("clock", "set the clock (timedatectl, chronyc): certificates are judged by it", "it is %s, before this program was written", now.UTC().Format(time.RFC3339))
				return
			}
		}
	}
	if synchronized, known := disciplined(); known && !synchronized {
		s.Warn("clock", "is chrony, ntpd or systemd-timesyncd running? export times, and validity of certificates, hang on it",
			"it is %s, and the kernel knows of nobody who keeps it right", now.UTC().Format(time.RFC3339))
		return
	}
	s.OK("clock", "it is %s", now.UTC().Format(time.RFC3339))
}

func buffers(s *Section, receive int) {
	rmem, ok := sysctl("net/core/rmem_max")
	if !ok {
		return
	}
	wmem, _ := sysctl("net/core/wmem_max")
	switch {
	case receive > rmem && !mayForce():
		s.Warn("socket buffers", "sysctl -w net.core.rmem_max="+strconv.Itoa(receive)+" (and in /etc/sysctl.d), or CAP_NET_ADMIN",
			"net.core.rmem_max is %d, and %d octets are asked for: bursts are lost", rmem, receive)
	case rmem < leastBuffer || wmem < leastBuffer:
		s.Warn("socket buffers", "sysctl -w net.core.rmem_max="+strconv.Itoa(leastBuffer)+" net.core.wmem_max="+strconv.Itoa(leastBuffer),
			"net.core.rmem_max is %d, wmem_max %d: less than Linux's default", rmem, wmem)
	default:
		s.OK("socket buffers", "net.core.rmem_max is %d, wmem_max %d", rmem, wmem)
	}
}

// sysctl reads a number of the kernel's.
func sysctl(name string) (int, bool) {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// stack looks at what a transport needs of the kernel. at is the first address,
// iface the interface its packets leave by. pending is what matters only if no
// session can be had; nil: nothing does.
func stack(s *Section, e transport.Endpoint, at netip.Addr, iface string) (pending *Finding) {
	switch e.Scheme {
	case "sctp", "dtls+sctp":
		if err := kernelSCTP(at.Is6() && !at.IsUnspecified()); err != nil {
			s.Fail("SCTP", "modprobe sctp; or "+hintUDP(e), "this kernel has none: %v", err)
			return nil
		}
		s.OK("SCTP", "this kernel has it")
	case "dccp", "dtls+dccp":
		return stackDCCP(s, e, at, iface)
	}
	return nil
}

func stackDCCP(s *Section, e transport.Endpoint, at netip.Addr, iface string) (pending *Finding) {
	if endpoint.KernelDCCP(e, at) {
		if err := kernel.Supported(at.Is6()); err != nil && !at.IsUnspecified() {
			s.Fail("DCCP", "modprobe dccp_ipv4 dccp_ipv6 (Linux before 6.16); or leave stack=kernel out, or "+hintUDP(e), "%v", err)
			return nil
		}
		s.OK("DCCP", "this kernel has it, and its sockets are used")
		return nil
	}
	any := netip.IPv4Unspecified()
	if at.Is6() {
		any = netip.IPv6Unspecified()
	}
	raw, err := carrier.ListenRaw(any, carrier.Config{ReceiveBuffer: -1})
	if err != nil {
		s.Fail("raw sockets", transport.Hint(err), "%v", err)
		return nil
	}
	_ = raw.Close() // nothing was sent
	s.OK("raw sockets", "allowed: DCCP is ours, as IP protocol 33")
	if !carrier.KernelHasDCCP() {
		s.OK("DCCP", "this kernel has none that would answer for us")
		return nil
	}
	if iface == "" {
		iface = "IFACE"
	}
	return &Finding{
		"DCCP", Warn, "this kernel has DCCP too, and resets our connections unless only what bears our mark leaves",
		carrier.AdviceKernel(iface, carrier.DefaultMark),
	}
}
