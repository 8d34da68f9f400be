package endpoint

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// minTTL is how long an answer holds at least: who says less would have us ask
// all the time.
const minTTL = 5 * time.Second

// system asks the system's resolver for the addresses of a name, and how long
// they hold by the answers (TTL: RFC 1035, Section 3.2.1); 0: nobody said, as
// where /etc/hosts knows.
func system(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	return lookup(ctx, name, (&net.Dialer{}).DialContext)
}

func lookup(ctx context.Context, name string, dial func(ctx context.Context, network, address string) (net.Conn, error)) ([]netip.Addr, time.Duration, error) {
	var h heard
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return h.listen(c), nil
	}}
	addrs, err := r.LookupNetIP(ctx, "ip", name)
	return addrs, h.least(), err
}

// heard are the lifetimes in the answers to one lookup. The resolver tells them
// nobody, so its connections are listened in on.
type heard struct {
	mu   sync.Mutex
	any  bool
	secs uint32
}

// listen makes c one that is listened in on. Whether it is a net.PacketConn
// stays as it was: it tells the resolver how messages are framed.
func (h *heard) listen(c net.Conn) net.Conn {
	if u, ok := c.(*net.UDPConn); ok {
		return &datagrams{UDPConn: u, heard: h}
	}
	return &stream{Conn: c, heard: h}
}

// least is the shortest lifetime; 0: none was told.
func (h *heard) least() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.any {
		return 0
	}
	return max(time.Duration(h.secs)*time.Second, minTTL)
}

// answer takes the lifetimes of the records in an answer to the query id.
func (h *heard) answer(id uint16, msg []byte) {
	var p dnsmessage.Parser
	head, err := p.Start(msg)
	if err != nil || head.ID != id || !head.Response || head.RCode != dnsmessage.RCodeSuccess || head.Truncated || p.SkipAllQuestions() != nil {
		return
	}
	for {
		a, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		h.mu.Lock()
		if !h.any || a.TTL < h.secs {
			h.any, h.secs = true, a.TTL
		}
		h.mu.Unlock()
	}
}

// datagrams carry one message each.
type datagrams struct {
	*net.UDPConn
	heard *heard
	id    uint16
}

func (d *datagrams) Write(b []byte) (int, error) {
	if len(b) >= 2 {
		d.id = binary.BigEndian.Uint16(b)
	}
	return d.UDPConn.Write(b)
}

func (d *datagrams) Read(b []byte) (int, error) {
	n, err := d.UDPConn.Read(b)
	if err == nil {
		d.heard.answer(d.id, b[:n])
	}
	return n, err
}

// stream has the length before each message (RFC 1035, Section 4.2.2).
type stream struct {
	net.Conn
	heard *heard
	id    uint16
	got   []byte
}

func (s *stream) Write(b []byte) (int, error) {
	if len(b) >= 4 {
		s.id = binary.BigEndian.Uint16(b[2:])
	}
	return s.Conn.Write(b)
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.got = append(s.got, b[:n]...)
	if len(s.got) >= 2 {
		if end := 2 + int(binary.BigEndian.Uint16(s.got)); len(s.got) >= end {
			s.heard.answer(s.id, s.got[2:end])
			s.got = s.got[:copy(s.got, s.got[end:])]
		}
	}
	return n, err
}
