package userspace

import (
	"bytes"
	"errors"
	"testing"

	"ipfixsuite/transport/sctp"
	"ipfixsuite/transport/sctp/shim"
	"ipfixsuite/transport/sctp/wire"
)

func TestAuth_KeysChange(t *testing.T) {
	cfg := Config{Config: sctp.Config{Auth: true}}
	s, c, r, l := pairBy(t, cfg, cfg)
	list, err := c.PeerAuthChunks()
	if err != nil || !bytes.Equal(list, []byte{sctp.ChunkData, sctp.ChunkForwardTSN}) {
		t.Fatalf("the peer demands % x, %v", list, err)
	}
	var bare, sealed int
	var last []byte // a packet of the client's with DATA
	r.watch(func(p []byte, toServer bool) {
		if has(p, wire.DATA) {
			if has(p, wire.Auth) {
				sealed++
			} else {
				bare++
			}
			if toServer {
				last = bytes.Clone(p)
			}
		}
	})
	exchange := func(text string) {
		t.Helper()
		c.send(t, sctp.Message{Data: []byte(text)})
		if g := s.next(t, sctp.EventMessage); string(g.data) != text {
			t.Fatalf("%q", g.data)
		}
		s.send(t, sctp.Message{Data: []byte(text)})
		if g := c.next(t, sctp.EventMessage); string(g.data) != text {
			t.Fatalf("%q", g.data)
		}
		if err := errors.Join(c.Drain(withPatience(t)), s.Drain(withPatience(t))); err != nil {
			t.Fatal(err)
		}
	}
	exchange("under key 0")
	secret := bytes.Repeat([]byte{1, 2}, 32)
	if err := errors.Join(c.SetKey(1, secret), c.ActivateKey(1)); err != nil {
		t.Fatal(err)
	}
	// The server has no key 1 yet: the message waits for it.
	c.send(t, sctp.Message{Data: []byte("early")})
	if err := errors.Join(s.SetKey(1, secret), s.ActivateKey(1), s.DeleteKey(0), c.DeleteKey(0)); err != nil {
		t.Fatal(err)
	}
	if g := s.next(t, sctp.EventMessage); string(g.data) != "early" {
		t.Fatalf("%q", g.data)
	}
	exchange("under key 1")
	r.watch(nil)
	if bare != 0 || sealed < 5 {
		t.Errorf("%d packets with DATA unauthenticated, %d authenticated", bare, sealed)
	}

	// Forged: without AUTH, altered, and under the deleted key 0.
	h, _ := wire.ParseHeader(last)
	forged := func(alter func(p []byte) []byte) {
		p := alter(bytes.Clone(last))
		wire.SetChecksum(p)
		r.inject(p)
	}
	forged(func([]byte) []byte {
		d := wire.Data{Flags: 3, TSN: 1 << 20, User: []byte("forged")}
		return d.Append(h.Append(nil))
	})
	forged(func(p []byte) []byte { p[len(p)-1] ^= 1; return p })
	forged(func(p []byte) []byte { p[wire.HeaderLen+5] = 0; return p })
	want := map[string]uint64{
		shim.DropUnauthenticated.String(): 1, shim.DropMAC.String(): 1, shim.DropKey.String(): 1,
	}
	eventually(t, func() bool {
		got := l.Stats().Dropped
		for reason, n := range want {
			if got[reason] != n {
				return false
			}
		}
		return true
	}, func() any { return l.Stats().Dropped })
	exchange("still there")
}
