package tlsmux_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"ipfixsuite/transport/tlsmux"
	"ipfixsuite/transport/tlsmux/wire"
)

// HTTP, as any protocol that takes net.Conns and a net.Listener, on the channels
// of one session.
func Example() {
	c, s := net.Pipe() // in practice the two ends of a TLS connection
	client, server := tlsmux.Client(c, tlsmux.Config{}), tlsmux.Server(s, tlsmux.Config{})
	defer client.Close()
	defer server.Close()

	hello := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s\n", r.URL.Path, r.RemoteAddr)
	})}
	go func() { _ = hello.Serve(server.Listener()) }() // ended by Close
	defer hello.Close()

	port := uint16(1000)
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		port++
		return client.Open(ctx, wire.Address{Host: []byte("192.0.2.1"), Port: port}, wire.Address{Host: []byte("server"), Port: 80})
	}, DisableKeepAlives: true}}
	for _, path := range []string{"/a", "/b"} {
		r, err := web.Get("http://server" + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		fmt.Print(string(body))
	}
	// Output:
	// /a for 192.0.2.1:1001
	// /b for 192.0.2.1:1002
}
