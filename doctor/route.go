package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"ipfixsuite/transport"
)

const hintRoute = "ip route get ADDRESS shows the way; is the interface up, has it an address of that family?"

// maxAddrs bounds the addresses of a name that are tried, as package endpoint
// does.
const maxAddrs = 16

// Lookup resolves a name; nil: by the system's resolver.
type Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

// resolve finds the addresses of an endpoint's host.
func resolve(ctx context.Context, s *Section, e transport.Endpoint, lookup Lookup) []netip.AddrPort {
	if at, ok := e.AddrPort(); ok {
		return []netip.AddrPort{at}
	}
	if lookup == nil {
		lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	began := time.Now()
	found, err := lookup(ctx, e.Host)
	if err != nil {
		h := "check the name (getent ahosts NAME) and /etc/resolv.conf, or give an address"
		if de, ok := errors.AsType[*net.DNSError](err); ok {
			s.Fail("name", h, "%s: %s", e.Host, de.Err)
		} else {
			s.Fail("name", h, "%s: %v", e.Host, err)
		}
		return nil
	}
	var list []netip.AddrPort
	var shown []string
	seen := map[netip.Addr]bool{}
	for _, a := range found {
		if a = a.Unmap(); seen[a] || len(list) == maxAddrs {
			continue
		}
		seen[a] = true
		list = append(list, netip.AddrPortFrom(a, e.Port))
		shown = append(shown, a.String()+" ("+family(a)+")")
	}
	if len(list) == 0 {
		s.Fail("name", "check the name, or give an address", "%s has no address", e.Host)
		return nil
	}
	s.OK("name", "%s is %s, in %v", e.Host, strings.Join(shown, ", "), time.Since(began).Round(time.Millisecond))
	return list
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// way is how packets for a peer leave.
type way struct {
	source netip.Addr
	iface  string // "": not known
	mtu    int    // of the path, as far as the system knows; 0: not known
}

// route asks the system for the way to a peer. Nothing is sent.
func route(to netip.AddrPort) (w way, err error) {
	if to.Port() == 0 {
		to = netip.AddrPortFrom(to.Addr(), 9)
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return w, err
	}
	defer func() { _ = c.Close() }()
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		w.source = a.AddrPort().Addr().Unmap()
	}
	w.iface, w.mtu = holder(w.source.WithZone(""))
	if mtu := pathMTU(c, to.Addr().Unmap().Is4()); mtu > 0 {
		w.mtu = mtu
	}
	return w, nil
}

// holder is the interface that has an address, and its MTU.
func holder(a netip.Addr) (name string, mtu int) {
	all, err := net.Interfaces()
	if err != nil {
		return "", 0
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, x := range addrs {
			if p, err := netip.ParsePrefix(x.String()); err == nil && (p.Addr() == a || i.Flags&net.FlagLoopback != 0 && a.IsLoopback()) {
				return i.Name, i.MTU
			}
		}
	}
	return "", 0
}

// routes tells the way to each address; those without one are left out.
func routes(s *Section, addrs []netip.AddrPort) (list []netip.AddrPort, first way) {
	var bad []Finding
	for _, a := range addrs {
		w, err := route(a)
		if err != nil {
			bad = append(bad, Finding{"route", Fail, a.Addr().String() + ": " + reason(err), hintRoute})
			continue
		}
		if len(list) == 0 {
			first = w
		}
		list = append(list, a)
		by := ""
		if w.iface != "" {
			by = " by " + w.iface
		}
		s.OK("route", "%v leaves from %v%s, MTU %d", a.Addr(), w.source, by, w.mtu)
	}
	for _, f := range bad {
		if len(list) > 0 {
			f.Status = Warn // there is another address
		}
		s.Add(f)
	}
	return list, first
}

// reason is an error of package net without what we know.
func reason(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}
