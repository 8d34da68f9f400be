package metering

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/capture"
	"ipfixsuite/metering"
)

// childEnv makes the test binary another program: its value is the program's
// name and arguments. So it runs in other namespaces and has its own
// processor time.
const childEnv = "IPFIXSUITE_CHILD"

func TestMain(m *testing.M) {
	args := strings.Fields(os.Getenv(childEnv))
	if len(args) == 0 {
		os.Exit(m.Run())
	}
	err := errors.New("no such child")
	switch args[0] {
	case "export":
		err = export(args[1], args[2])
	case "listen":
		err = listen(args[1])
	case "serve":
		err = http.ListenAndServe(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 200<<10)) }))
	case "open":
		_, err = capture.Live(args[1], capture.LiveConfig{Promiscuous: true})
	case "stalled":
		err = stalled()
	case "tagged":
		err = tagged(args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// heard is what listen tells at its end.
type heard struct {
	Packets, Octets uint64 // handed out by the ring, with their link layer
	Flows           map[string]uint64
	Stats           metering.Stats
	Ring            capture.Stats
	End             string // why the ring ended
}

// listen meters an interface until it has had as many packets as its input says
// in the end, or no more come; more than those may come for a moment.
func listen(name string) error {
	ring, err := capture.Live(name, capture.LiveConfig{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	wanted := make(chan uint64, 1)
	go func() { // ends with the input
		var n uint64
		fmt.Scan(&n)
		wanted <- max(n, 1)
		ring.SetReadDeadline(time.Unix(1, 0))
	}()
	out := heard{Flows: map[string]uint64{}}
	m := metering.New(metering.Config{Biflow: true, ActiveTimeout: time.Second}, func(f *metering.Flow) {
		out.Flows[fmt.Sprintf("%d vlan %d", f.Protocol(), f.VLAN())] += f.Forward().Packets + f.Reverse().Packets
	})
	var want uint64
	for {
		p, err := ring.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) && want == 0 {
			want = <-wanted
			ring.SetReadDeadline(time.Now().Add(20 * time.Second))
			err = nil
		} else if err == nil {
			out.Packets++
			out.Octets += uint64(p.Length)
			m.Packet(p.Time, metering.LinkType(p.Link), p.Data, p.Length, p.Interface)
		}
		if err != nil {
			out.End = err.Error()
			break
		}
		if want != 0 && out.Packets >= want {
			ring.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		}
	}
	m.Flush()
	out.Stats, out.Ring = m.Stats(), ring.Stats()
	if err := ring.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// stalled sends itself more than its ring holds, and reads only then.
func stalled() error {
	ring, err := capture.Live("lo", capture.LiveConfig{RingSize: 1})
	if err != nil {
		return err
	}
	defer ring.Close()
	conn, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		return err
	}
	for range flood {
		conn.Write(make([]byte, 1000))
	}
	// What a busy kernel has not delivered yet comes later.
	var out drops
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		ring.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for err = nil; err == nil; {
			_, err = ring.Next()
		}
		if out.Out, out.In, err = counted("lo"); err != nil {
			return err
		}
		out.Stats = ring.Stats()
		if out.Packets+out.Skipped+out.Drops == out.Out+out.In {
			break
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// drops is what stalled tells: what the ring saw, and what the interface
// counts.
type drops struct {
	capture.Stats
	Out, In uint64
}

// counted is how many packets a loopback interface has sent, and how many of
// them its host has taken in.
func counted(name string) (out, in uint64, err error) {
	table, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(table)) {
		var octets, errs, dropped uint64
		if _, numbers, ok := strings.Cut(line, name+":"); ok {
			_, err = fmt.Sscan(numbers, &octets, &in, &errs, &dropped)
			return in + dropped, in, err
		}
	}
	return 0, 0, fmt.Errorf("no counters of %s", name)
}

// tagged sends ten UDP packets of VLAN 20.
func tagged(name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	frame := []byte{
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x00, 20, 0x08, 0x00,
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 77, 192, 0, 2, 78, 0x12, 0x34, 0, 9, 0, 8, 0, 0,
	}
	for range 10 {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
			return err
		}
	}
	return unix.Close(fd)
}
