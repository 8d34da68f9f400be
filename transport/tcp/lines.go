package tcp

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
)

// A line is a full handshake with all sessions that were resumed from it, as
// they share its secret. Its number is in the tickets, which only we can read.
//
// Tickets leave no trace with whoever gave them, so the lines that must not be
// resumed are remembered.
type lines struct {
	last   uint64
	barred map[uint64]struct{}
}

// maxBarred bounds what is remembered.
const maxBarred = 1024

// linePrefix tells our entry in a ticket from others (tls.SessionState.Extra).
var linePrefix = []byte("line")

// trace has the tickets of a handshake bear its line's number, and refuses
// those whose line is barred: the handshake is a full one then.
func (s *server) trace(keys, c *tls.Config, m *meter) {
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		st, err := keys.DecryptTicket(ticket, cs)
		if err != nil || st == nil {
			return nil, err
		}
		line := lineOf(st)
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, no := s.lines.barred[line]; no || line == 0 {
			return nil, nil //nolint:nilnil // says so: no session
		}
		m.line = line
		return st, nil
	}
	c.WrapSession = func(cs tls.ConnectionState, st *tls.SessionState) ([]byte, error) {
		if !cs.DidResume || m.line == 0 {
			s.mu.Lock()
			s.lines.last++
			m.line = s.lines.last
			s.mu.Unlock()
		}
		st.Extra = append(st.Extra, binary.BigEndian.AppendUint64(bytes.Clone(linePrefix), m.line))
		return keys.EncryptTicket(cs, st)
	}
}

func lineOf(st *tls.SessionState) (line uint64) {
	for _, e := range st.Extra {
		if rest, ok := bytes.CutPrefix(e, linePrefix); ok && len(rest) == 8 {
			line = binary.BigEndian.Uint64(rest)
		}
	}
	return line
}

// bar keeps a line from being resumed. When there are too many to remember, no
// ticket that was ever given is any good.
func (s *server) bar(line uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines.barred) >= maxBarred {
		s.lines.barred, s.shared = nil, nil
		return
	}
	if s.lines.barred == nil {
		s.lines.barred = map[uint64]struct{}{}
	}
	s.lines.barred[line] = struct{}{}
}
