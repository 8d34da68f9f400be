package core_test

import (
	"crypto/rand"
	"fmt"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/ccid2"
	"ipfixsuite/transport/dccp/core"
	"ipfixsuite/transport/dccp/wire"
)

// Two ends in one process: what a driver does with sockets and clocks is done
// here with a slice and a variable.
func Example() {
	now := time.Now()
	cfg := core.Config{CCIDs: []ccid.CCID{ccid2.New()}}
	listener, err := core.NewListener(core.ListenerConfig{Config: cfg, Services: []wire.ServiceCode{0x3f495046}, Rand: rand.Reader})
	if err != nil {
		fmt.Println(err)
		return
	}
	tuple := core.Tuple{LocalPort: 4739, RemotePort: 40000} // as the server sees it

	var secret core.Secret
	rand.Read(secret[:])
	client := core.NewClient(now, cfg, core.Ports{Local: 40000, Remote: 4739, Service: 0x3f495046}, core.NewISS(&secret, tuple, now))
	var server *core.Conn

	tell := func(name string, c *core.Conn) {
		for {
			e, ok := c.Event()
			if !ok {
				return
			}
			switch e.Kind {
			case core.EventData:
				fmt.Printf("%s: %s\n", name, e.Data)
			case core.EventDelivered:
				fmt.Printf("%s: message %d arrived\n", name, e.Message)
			case core.EventClosed:
				fmt.Printf("%s: %v\n", name, c.Err())
			}
		}
	}
	toServer := func(p *wire.Packet) {
		if server != nil {
			server.HandlePacket(now, p)
			tell("server", server)
			return
		}
		reply, c := listener.HandlePacket(now, tuple, p, nil)
		if len(reply) > 0 { // a cookie or a Reset
			return
		}
		server = c
	}
	exchange := func() {
		var p wire.Packet
		for busy := true; busy; {
			busy = false
			for b, _, ok := client.AppendPacket(now, nil); ok; b, _, ok = client.AppendPacket(now, nil) {
				busy = p.Parse(b) == nil
				toServer(&p)
			}
			for server != nil {
				b, _, ok := server.AppendPacket(now, nil)
				if !ok {
					break
				}
				busy = p.Parse(b) == nil
				client.HandlePacket(now, &p)
				tell("client", client)
			}
		}
		tell("client", client)
	}
	if err := client.Send(now, 1, []byte("hello")); err != nil {
		fmt.Println(err)
	}
	exchange()
	client.Close(now)
	exchange()
	// Output:
	// server: hello
	// client: message 1 arrived
	// server: dccp: reset by peer: closed
	// client: dccp: reset by peer: closed
}
