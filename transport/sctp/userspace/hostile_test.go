package userspace

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

// attacker is a UDP socket that speaks SCTP as badly as a test wants.
type attacker struct {
	*net.UDPConn
	t  testing.TB
	to netip.AddrPort
}

func attack(t testing.TB, l sctp.Acceptor, from string) *attacker {
	t.Helper()
	c := socketAt(t, netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	t.Cleanup(func() { c.Close() })
	return &attacker{c, t, UDPAddr(l)}
}

func (a *attacker) send(p []byte) {
	if _, err := a.WriteToUDPAddrPort(p, a.to); err != nil {
		a.t.Fatal(err)
	}
}

// packet is a packet to the test port with a right checksum.
func packet(src uint16, tag uint32, chunks []byte) []byte {
	b := append(wire.Header{Src: src, Dst: testPort, Tag: tag}.Append(nil), chunks...)
	wire.SetChecksum(b)
	return b
}

func initChunk(tag uint32) []byte {
	b := wire.BeginChunk(nil, wire.INIT, 0)
	init := wire.Init{Tag: tag, Window: 1 << 16, Out: 10, In: 10, TSN: 1}
	return wire.EndChunk(init.AppendFixed(b), 0)
}

// answers counts, by type of the first chunk, what comes back: at least so many
// packets, and what follows them within a moment.
func (a *attacker) answers(least int) map[wire.ChunkType]int {
	n := map[wire.ChunkType]int{}
	b := make([]byte, 1<<16)
	for got := 0; ; got++ {
		wait := 50 * time.Millisecond
		if got < least {
			wait = patience
		}
		_ = a.SetReadDeadline(time.Now().Add(wait))
		size, _, err := a.ReadFromUDPAddrPort(b)
		if err != nil {
			return n
		}
		n[wire.FirstType(b[:size])]++
	}
}

// Packets against the rules are dropped and counted, each for its reason, and
// nothing they say is believed.
func TestListener_BadPackets(t *testing.T) {
	l := listen(t, loopback4, Config{})
	s, c := pairOn(t, l, Config{})
	core := s.Association.(*association)
	from := c.Association.(*association)
	tag := core.terms.LocalTag
	a := attack(t, l, "127.0.0.1")
	elsewhere := attack(t, l, "127.0.2.1")
	data := (&wire.Data{Flags: 3, TSN: core.terms.PeerTSN, User: []byte("forged")}).Append(nil)
	abort := wire.AppendChunk(nil, wire.Abort, 0, nil)
	port := core.terms.PeerPort
	broken := packet(port, tag, data)
	broken[len(broken)-1] ^= 1
	truncated := packet(port, tag, data[:len(data)-4])
	cookie := wire.AppendChunk(nil, wire.CookieEcho, 0, make([]byte, 200))

	for _, row := range []struct {
		name   string
		from   *attacker
		in     []byte
		reason shim.Drop
	}{
		{"too short", a, []byte("short"), shim.DropMalformed},
		{"port 0", a, packet(0, tag, data), shim.DropMalformed},
		{"wrong checksum", a, broken, shim.DropChecksum},
		{"truncated chunk", a, truncated, shim.DropMalformed},
		{"unknown tag", a, packet(port, tag+1, data), shim.DropTag},
		{"ABORT with an unknown tag", a, packet(port, tag+1, abort), shim.DropTag},
		{"another address", elsewhere, packet(port, tag, abort), shim.DropAddress},
		{"another port", a, packet(port+1, tag, abort), shim.DropAddress},
		{"DATA with tag 0", a, packet(port, 0, data), shim.DropInit},
		{"a cookie of its own", a, packet(port+2, 77, cookie), shim.DropCookie},
	} {
		before := l.Stats().Dropped[row.reason.String()]
		row.from.send(row.in)
		eventually(t, func() bool { return l.Stats().Dropped[row.reason.String()] == before+1 },
			func() any { return fmt.Sprint(row.name, l.Stats().Dropped) })
	}
	// Strays are answered by ABORT, ABORTs by nothing.
	if got := a.answers(1); got[wire.Abort] != 1 || len(got) != 1 {
		t.Errorf("answered %v", got)
	}
	// Unknown chunks and parameters in a living association.
	odd := wire.AppendChunk(nil, 0xBE, 0, []byte("odd"))
	from.s.out.put(append(take(0), packet(port, tag, odd)...), from.remote, netip.Addr{}, true)
	eventually(t, func() bool { return l.Stats().Dropped[shim.DropUnknown.String()] == 1 }, func() any { return l.Stats().Dropped })

	c.send(t, sctp.Message{Data: []byte("genuine")})
	if g := s.next(t, sctp.EventMessage); string(g.data) != "genuine" {
		t.Errorf("delivered %q", g.data)
	}
}

// What pion would stumble over never reaches it: thousands of random packets
// under a living association's tag do no harm.
func TestAssociation_RandomPackets(t *testing.T) {
	l := listen(t, loopback4, Config{})
	s, c := pairOn(t, l, Config{})
	from := c.Association.(*association)
	to := s.Association.(*association)
	seed := []byte{}
	for kind := range 256 {
		switch wire.ChunkType(kind) {
		case wire.Abort, wire.Shutdown, wire.ForwardTSN:
			continue // these would rightly do something
		}
		for size := range 24 {
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(kind*31 + size*7 + i*13)
			}
			if wire.ChunkType(kind) == wire.DATA && size >= 12 {
				binary.BigEndian.PutUint32(b, to.terms.PeerTSN+1<<30) // far beyond the window
			}
			if wire.ChunkType(kind) == wire.DATA && size == 12 {
				continue // no user data: ends the association
			}
			seed = wire.AppendChunk(seed[:0], wire.ChunkType(kind), byte(size)|wire.FlagEnd, b)
			p := packet(to.terms.PeerPort, to.terms.LocalTag, seed)
			from.s.out.put(append(take(len(p)), p...), from.remote, netip.Addr{}, true)
		}
	}
	c.send(t, sctp.Message{Data: []byte("unharmed")})
	if g := s.next(t, sctp.EventMessage); string(g.data) != "unharmed" {
		t.Errorf("%q", g.data)
	}
}
