package tcp

import (
	"ipfixsuite/transport"
)

// tallied counts the sessions that an Upgrade opens on its connection as the
// Listener's.
type tallied struct {
	s *inbound
	transport.Handler
}

// Open implements transport.Handler.
func (t *tallied) Open(p transport.Peer, props transport.Properties) (transport.Receiver, error) {
	l := t.s.l
	r, err := t.Handler.Open(p, props)
	if err != nil || r == nil {
		l.refused.Add(1)
		l.unwanted.Add(1)
		return nil, err
	}
	l.opened.Add(1)
	if p.Resumed {
		l.resumed.Add(1)
	}
	return &tally{t.s, r}, nil
}

type tally struct {
	s *inbound
	transport.Receiver
}

// Message implements transport.Receiver.
func (t *tally) Message(m transport.Incoming) {
	t.s.l.messages.Add(1)
	t.s.l.octets.Add(uint64(len(m.Data)))
	t.Receiver.Message(m)
}

// Closed implements transport.Receiver.
func (t *tally) Closed(reason error) {
	if e := t.s.expelled.Load(); e != nil {
		reason = *e
	}
	t.s.l.closed.Add(1)
	t.Receiver.Closed(reason)
}

// counts adds what an Upgrade dropped.
func (s *inbound) counts(to map[string]uint64) {
	c := s.conn.Load()
	if c == nil {
		return
	}
	if f := c.counts.Load(); f != nil {
		for reason, n := range (*f)() {
			to[reason] += n
		}
	}
}
