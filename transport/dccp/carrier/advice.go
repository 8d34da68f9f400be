package carrier

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// MarkRule is what keeps a kernel that has DCCP from answering in place of a
// user-space endpoint: shell commands that drop what of protocol 33 leaves
// iface without the mark. The kernel's own DCCP sockets fall silent with it.
func MarkRule(iface string, mark int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "tc qdisc add dev %s clsact\n", iface)
	for i, family := range []string{"ip", "ipv6"} {
		match := [...]string{"ip protocol", "ip6 protocol"}[i]
		fmt.Fprintf(&b, "tc filter add dev %s egress protocol %s prio %d handle %#x fw action pass\n", iface, family, 2*i+1, mark)
		fmt.Fprintf(&b, "tc filter add dev %s egress protocol %s prio %d u32 match %s 33 0xff action drop\n", iface, family, 2*i+2, match)
	}
	return b.String()
}

// What is told to those whom the system refuses something.
const (
	hintRaw = "raw IP needs the capability CAP_NET_RAW (run as root, or: setcap cap_net_raw,cap_net_admin+ep PROGRAM); " +
		"dccp+udp needs none"
	hintNoRaw = "use dccp+udp, which works on every system"
)

// AdviceKernel is for a host whose kernel has DCCP (KernelHasDCCP): it answers
// packets for sockets that it does not know with Reset, code 3, and so ends
// raw connections. iface is where they leave, "IFACE" if that is not known. It
// is one line; what follows its colon is for a shell.
func AdviceKernel(iface string, mark int) string {
	return "this kernel has DCCP of its own and resets connections that it does not know: use its sockets, use dccp+udp, " +
		"unload the modules dccp_ipv4 and dccp_ipv6, or let only marked packets leave: " + strings.ReplaceAll(strings.TrimSpace(MarkRule(iface, mark)), "\n", "; ")
}

// KernelHasDCCP tells whether the running kernel speaks DCCP just now; it may
// begin to when its modules are loaded.
func KernelHasDCCP() bool {
	protocols, err := os.ReadFile("/proc/net/protocols")
	return err == nil && bytes.Contains(protocols, []byte("\nDCCP"))
}

// Explain adds AdviceKernel to an error that this host's own kernel may have
// caused; others, and all where it has no DCCP, are returned as they are.
func Explain(err error, mark int) error {
	if err == nil || !KernelHasDCCP() {
		return err
	}
	return &Error{What: "raw IP", Err: err, hint: AdviceKernel("IFACE", mark)}
}

// AdviceMark is for a raw socket that may not mark its packets.
const AdviceMark = "packets are not marked (SO_MARK needs CAP_NET_ADMIN, or CAP_NET_RAW since Linux 5.17); " +
	"that matters only where the kernel has DCCP of its own"
