package capture

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// LiveConfig is how an interface is listened to. The zero value works.
type LiveConfig struct {
	// Promiscuous asks the card for packets that are not for this host too.
	Promiscuous bool
	// RingSize is how many octets of packets the kernel may keep for us,
	// rounded up to whole blocks of 1 MiB. Zero: 32 MiB.
	RingSize int
	// Latency is how long the kernel may hold back packets to hand out
	// several at once, in whole milliseconds. Zero: 50 ms.
	Latency time.Duration
}

// Stats is what a live capture counted.
type Stats struct {
	Packets uint64 // handed out by Next
	Drops   uint64 // lost by the kernel because the ring was full
	Freezes uint64 // times the ring became full
	Skipped uint64 // seen but not handed out: second sight on a loopback interface, no IP without a link layer
}

// ErrNoCapability is wrapped by Live's error if the process may not capture.
var ErrNoCapability = errors.New("needs the capability CAP_NET_RAW: run as root, or `sudo setcap cap_net_raw+ep` the program")

// findInterface looks the interface up; the error tells which ones there are.
func findInterface(name string) (*net.Interface, error) {
	ifi, err := net.InterfaceByName(name)
	if err == nil {
		return ifi, nil
	}
	all, listErr := net.Interfaces()
	if listErr != nil {
		return nil, fmt.Errorf("interface %q: %w", name, err)
	}
	names := make([]string, 0, len(all))
	for _, i := range all {
		names = append(names, i.Name)
	}
	return nil, fmt.Errorf("interface %q: no such interface; there are: %s", name, strings.Join(names, ", "))
}
