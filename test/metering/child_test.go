package metering

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// listen meters an interface until its input is closed.
func listen(name string) error {
	ring, err := capture.Live(name, capture.LiveConfig{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		io.Copy(io.Discard, os.Stdin)
		ring.SetReadDeadline(time.Unix(1, 0))
	}()
	out := heard{Flows: map[string]uint64{}}
	m := metering.New(metering.Config{Biflow: true, ActiveTimeout: time.Second}, func(f *metering.Flow) {
		out.Flows[fmt.Sprintf("%d vlan %d", f.Protocol(), f.VLAN())] += f.Forward().Packets + f.Reverse().Packets
	})
	for {
		p, err := ring.Next()
		if err != nil {
			out.End = err.Error()
			break
		}
		out.Packets++
		out.Octets += uint64(p.Length)
		m.Packet(p.Time, metering.LinkType(p.Link), p.Data, p.Length, p.Interface)
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
	ring.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for err == nil {
		_, err = ring.Next()
	}
	return json.NewEncoder(os.Stdout).Encode(ring.Stats())
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
