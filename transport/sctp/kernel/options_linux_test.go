//go:build linux && !386

package kernel

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
)

// Both ends list DATA and FORWARD-TSN (RFC 6083, Section 4.5); a key's number
// changes in mid-traffic and the old one goes (Section 4.8).
func testAuth(t *testing.T) {
	c, s := pair(t, sctp.Config{Auth: true}, sctp.Config{Auth: true})
	for _, e := range []*end{c, s} {
		if got, err := e.PeerAuthChunks(); err != nil || !slices.Contains(got, sctp.ChunkData) || !slices.Contains(got, sctp.ChunkForwardTSN) {
			t.Errorf("peer's chunks % x, %v", got, err)
		}
	}
	talk := func(what string) {
		t.Helper()
		c.send(t, sctp.Message{Data: []byte(what)})
		s.send(t, sctp.Message{Data: []byte(what)})
		c.drain(t)
		s.drain(t)
		for _, e := range []*end{c, s} {
			if got := e.next(t, sctp.EventMessage); string(got.Message.Data) != what {
				t.Errorf("got %q, want %q", got.Message.Data, what)
			}
		}
	}
	talk("key 0")
	key := bytes.Repeat([]byte{0xA5}, 64)
	for _, e := range []*end{s, c} {
		if err := e.SetKey(1, key); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range []*end{s, c} {
		if err := errors.Join(e.ActivateKey(1), e.DeleteKey(0)); err != nil {
			t.Fatal(err)
		}
	}
	talk("key 1")
	if err := c.ActivateKey(7); err == nil {
		t.Error("activated a key that is not there")
	}
	if err := c.SetKey(2, make([]byte, maxKeyLen+1)); err == nil {
		t.Error("a key of any length was taken")
	}

	// A peer without SCTP-AUTH lists nothing.
	c, _ = pair(t, sctp.Config{Auth: true}, sctp.Config{})
	if got, err := c.PeerAuthChunks(); err != nil || slices.Contains(got, sctp.ChunkData) {
		t.Errorf("peer's chunks % x, %v", got, err)
	}
	_, s = pair(t, sctp.Config{}, sctp.Config{})
	if got, err := s.PeerAuthChunks(); err != nil || len(got) != 0 {
		t.Errorf("peer's chunks % x, %v", got, err)
	}
}

// What was asked for is set, at both ends (RFC 6458, Section 8.1).
func testOptions(t *testing.T) {
	cfg := sctp.Config{
		Auth: true, Heartbeat: 700 * time.Millisecond, RTOMin: 150 * time.Millisecond, RTOInitial: 250 * time.Millisecond, RTOMax: 350 * time.Millisecond,
		MaxRetransmits: 7, PathRetransmits: 3,
	}
	c, s := pair(t, cfg, cfg)
	for name, e := range map[string]*end{"client": c, "server": s} {
		err := e.Association.(*association).control(func(fd int) error {
			read := func(option, size int) []byte {
				b := make([]byte, size)
				if _, err := getOption(fd, option, b); err != nil {
					t.Errorf("%s: option %d: %v", name, option, err)
				}
				return b
			}
			if native.Uint32(read(optNoDelay, 4)) != 1 {
				t.Errorf("%s: SCTP_NODELAY is off", name)
			}
			rto := read(optRTOInfo, 16)
			if a, b, c := native.Uint32(rto[4:]), native.Uint32(rto[8:]), native.Uint32(rto[12:]); a != 250 || b != 350 || c != 150 {
				t.Errorf("%s: RTO %d, at most %d, at least %d ms", name, a, b, c)
			}
			if n := native.Uint16(read(optAssocInfo, 20)[4:]); n != 7 {
				t.Errorf("%s: %d retransmissions", name, n)
			}
			path := read(optPathParameters, pathParamsLen)
			if every, n := native.Uint32(path[132:]), native.Uint16(path[136:]); every != 700 || n != 3 {
				t.Errorf("%s: heartbeats every %d ms, %d retransmissions on a path", name, every, n)
			}
			if e == s {
				return nil // an accepted socket tells its own default, not what its association began with
			}
			hmacs := read(optHMACIdent, 8)
			if n := native.Uint32(hmacs); n != 2 || native.Uint16(hmacs[4:]) != 3 || native.Uint16(hmacs[6:]) != 1 {
				t.Errorf("%s: %d algorithms: % x", name, n, hmacs[4:])
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
