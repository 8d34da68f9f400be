package dccp_test

import (
	"context"
	"fmt"
	"net/netip"

	"ipfixsuite/transport/dccp"
)

// A server and a client that exchange two messages, inside UDP.
func Example() {
	const echo dccp.ServiceCode = 0x4543484f // SC:ECHO
	here := netip.MustParseAddr("127.0.0.1")
	e, err := dccp.NewUDPEndpoint(here, dccp.Config{})
	if err != nil {
		panic(err)
	}
	defer e.Close()
	l, err := e.Listen(7, []dccp.ServiceCode{echo}, dccp.ListenConfig{})
	if err != nil {
		panic(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 1500)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			c.Write(b[:n])
		}
	}()

	c, err := dccp.Dial(context.Background(), l.Addr().(dccp.Addr), echo, dccp.Config{})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	fmt.Println(c.RemoteAddr().Network(), c.ServiceCode(), c.MPS() > 1000)
	b := make([]byte, 1500)
	for _, s := range []string{"one message", "another"} {
		fmt.Fprint(c, s)
		n, err := c.Read(b)
		fmt.Printf("%s, %v\n", b[:n], err)
	}
	// Output:
	// dccp+udp SC:ECHO true
	// one message, <nil>
	// another, <nil>
}
