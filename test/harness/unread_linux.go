package harness

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Unread is how many octets, with what the kernel needs to keep them, wait for
// the program whose UDP socket is bound to a port of 127.0.0.1; -1 if there is
// none yet.
func Unread(t testing.TB, port int) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf(`0100007F:%04X [0-9A-F]{8}:[0-9A-F]{4} [0-9A-F]{2} [0-9A-F]{8}:([0-9A-F]{8})`, port)
	m := regexp.MustCompile(line).FindSubmatch(table)
	if m == nil {
		return -1
	}
	n, err := strconv.ParseInt(string(m[1]), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// Read tells whether the program has read all of its standard input so far.
func (p *Process) Read() bool {
	p.t.Helper()
	f, ok := p.stdin.(*os.File)
	if !ok {
		p.t.Fatalf("the standard input of %s is no pipe", p.name)
	}
	var n int
	var err error
	c, cerr := f.SyscallConn()
	if cerr == nil {
		cerr = c.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	if err := errors.Join(cerr, err); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	return n == 0
}
