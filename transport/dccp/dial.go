package dccp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"ipfixsuite/transport/dccp/carrier"
	"ipfixsuite/transport/dccp/core"
)

// Client ports are drawn from IANA's dynamic ones.
const (
	firstClientPort = 49152
	clientPorts     = 1<<16 - firstClientPort
	portTries       = 64
)

// Dial connects to a peer for a service, over a socket of its own: inside UDP
// if to.UDP is set, so that each connection has its own UDP port (RFC 6773,
// Section 3.8, SHOULD), else as IP protocol 33, which needs CAP_NET_RAW.
func Dial(ctx context.Context, to Addr, service ServiceCode, cfg Config) (*Conn, error) {
	c, err := dial(ctx, to, service, cfg)
	if err != nil {
		return nil, dialError(to, err)
	}
	return c, nil
}

func dialError(to Addr, err error) error {
	return fmt.Errorf("connect to %s %v: %w", to.Network(), to, err)
}

func dial(ctx context.Context, to Addr, service ServiceCode, cfg Config) (c *Conn, err error) {
	err = errPortInUse
	for i := 0; i < portTries && errors.Is(err, errPortInUse); i++ {
		c, err = dialFrom(ctx, clientPort(), to, service, cfg)
	}
	return c, err
}

// dialFrom is dial from a DCCP port.
func dialFrom(ctx context.Context, port uint16, to Addr, service ServiceCode, cfg Config) (*Conn, error) {
	var c socket
	var local Addr
	if to.UDP != 0 {
		u, err := carrier.ConnectUDP(ctx, netip.AddrPortFrom(to.IP, to.UDP), cfg.socket())
		if err != nil {
			return nil, err
		}
		c, local = u, Addr{IP: u.LocalAddr().Addr(), UDP: u.LocalAddr().Port()}
	} else {
		cfg.Socket.Port = port
		r, err := carrier.ConnectRaw(ctx, netip.Addr{}, to.IP, cfg.socket())
		if err != nil {
			return nil, err
		}
		c, local = r, Addr{IP: r.LocalAddr().Addr()}
	}
	e, err := newEndpoint(c, local, cfg, true)
	if err != nil {
		return nil, err
	}
	conn, err := e.connect(ctx, to, port, service, &cfg)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return conn, nil
}

// Dial connects to a peer over the endpoint's socket. to.UDP must be set if
// the endpoint uses UDP, and only then.
func (e *Endpoint) Dial(ctx context.Context, to Addr, service ServiceCode, cfg Config) (*Conn, error) {
	err := errPortInUse
	var c *Conn
	for i := 0; i < portTries && errors.Is(err, errPortInUse); i++ {
		c, err = e.connect(ctx, to, clientPort(), service, &cfg)
	}
	if err != nil {
		return nil, dialError(to, err)
	}
	return c, nil
}

func clientPort() uint16 {
	var b [2]byte
	random(b[:])
	return firstClientPort + binary.BigEndian.Uint16(b[:])%clientPorts
}

var errCarrier = errors.New("the endpoint's socket does not carry such packets")

// connect makes a connection and waits until it may carry data.
func (e *Endpoint) connect(ctx context.Context, to Addr, port uint16, service ServiceCode, cfg *Config) (*Conn, error) {
	if (to.UDP != 0) != (e.local.UDP != 0) {
		return nil, errCarrier
	}
	to.IP = to.IP.Unmap()
	from, err := e.source(to.IP)
	if err != nil {
		return nil, err
	}
	key := core.Tuple{
		Local: netip.AddrPortFrom(from, e.local.UDP), Remote: netip.AddrPortFrom(to.IP, to.UDP),
		LocalPort: port, RemotePort: to.Port,
	}
	if departed.waits(time.Now(), key) {
		return nil, errPortInUse
	}
	mtu := e.io.MaxDatagram(key.Remote)
	k, err := cfg.core(mtu)
	if err != nil {
		return nil, err
	}
	c := newConn(e, key, service, cfg)
	c.mu.Lock()
	c.mtu = mtu
	now := time.Now()
	c.start(now, core.NewClient(now, k, core.Ports{Local: port, Remote: to.Port, Service: service}, core.NewISS(&e.secret, key, now)))
	if err := e.add(c); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.drive(now)
	c.mu.Unlock()
	select {
	case <-c.opened:
		return c, nil
	case <-c.done:
		if err := c.Err(); err != nil {
			return nil, err
		}
		return nil, os.ErrClosed
	case <-ctx.Done():
		_ = c.Abort()
		return nil, ctx.Err()
	}
}
