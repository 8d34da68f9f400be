package dtls

import (
	"bytes"
	"encoding/binary"

	"ipfixsuite/transport/dtls/record"
)

const (
	// smallDatagram is what any path takes: the IPv4 packet that every host
	// does (RFC 1122, Section 3.3.2), less IP and UDP.
	smallDatagram = 576 - 20 - 8
	// largeTries is how many transmissions of a message have to stay without
	// an answer before it is tried in smaller pieces: that leaves time for an
	// answer to those until stallAfter.
	largeTries = 2
	// leastPiece keeps a fragment from being all header.
	leastPiece = 32
)

// fitter cuts what pion writes to the datagrams that the path takes now: pion
// is told of one size, at the beginning. It also follows RFC 6347, Section
// 4.1.1.1 (SHOULD; for DCCP RFC 5238, Section 3.5): a message whose
// transmissions stay unanswered goes on in smaller fragments, for the path may
// carry less than it is said to.
//
// Once it has cut, the fitter numbers the plaintext records itself; those of
// later epochs pass as they are. The zero value cuts nothing.
type fitter struct {
	limit func() int // of a datagram; nil: none
	own   bool
	next  uint64         // record number of epoch 0
	tries map[uint16]int // of transmissions of a message
}

// fit returns the datagrams that b, one of pion's, becomes.
func (f *fitter) fit(b []byte) [][]byte {
	if f.limit == nil {
		return [][]byte{b}
	}
	limit := f.limit()
	if limit = min(limit, f.wish(b, limit)); len(b) <= limit && !f.own {
		f.count(b)
		return [][]byte{b}
	}
	f.own = true
	var out [][]byte
	var open []byte // the datagram that is being filled
	for len(b) > 0 {
		h, rec, rest, ok := record.Next(b, 0)
		if !ok {
			// Under a Connection ID, or of no form known here: it goes as it is.
			h, rec, rest = record.Header{Epoch: 1}, b, nil
		}
		b = rest
		for _, piece := range f.cut(h, rec, limit) {
			if len(open) > 0 && len(open)+len(piece) > limit {
				out = append(out, open)
				open = nil
			}
			open = append(open, piece...)
		}
	}
	return append(out, open)
}

// cut returns a record as one or several, none larger than limit if that can
// be.
func (f *fitter) cut(h record.Header, rec []byte, limit int) [][]byte {
	if h.Epoch != 0 {
		return [][]byte{rec}
	}
	frag, rest, ok := fragment{}, []byte(nil), false
	if h.Type == record.Handshake {
		frag, rest, ok = nextFragment(rec[record.HeaderLen:])
	}
	if len(rec) <= limit || !ok || len(rest) > 0 {
		return [][]byte{f.number(bytes.Clone(rec))}
	}
	most := max(limit-record.HeaderLen-handshakeHeaderLen, leastPiece)
	head := rec[record.HeaderLen:][:6]
	var pieces [][]byte
	for at := 0; at < len(frag.body); at += most {
		part := frag.body[at:min(at+most, len(frag.body))]
		pieces = append(pieces, f.number(appendFragment(rec[:record.HeaderLen], head, frag.offset+at, part)))
	}
	return pieces
}

// number gives a plaintext record our next number.
func (f *fitter) number(rec []byte) []byte {
	binary.BigEndian.PutUint64(rec[3:], f.next)
	f.next++
	return rec
}

// count looks at a datagram that goes as pion made it: our numbers will follow
// pion's.
func (f *fitter) count(b []byte) {
	for len(b) >= record.HeaderLen {
		if epoch := binary.BigEndian.Uint16(b[3:]); epoch == 0 {
			f.next = max(f.next, binary.BigEndian.Uint64(b[3:])+1)
		}
		n := record.HeaderLen + int(binary.BigEndian.Uint16(b[11:]))
		b = b[min(n, len(b)):]
	}
}

// wish counts the transmissions of the messages that begin in b, and says how
// large its datagrams should be for those that were in vain.
func (f *fitter) wish(b []byte, limit int) int {
	for len(b) >= record.HeaderLen+handshakeHeaderLen {
		if record.Type(b[0]) == record.Handshake && b[3] == 0 && b[4] == 0 {
			head := b[record.HeaderLen:]
			seq := binary.BigEndian.Uint16(head[4:])
			if head[6]|head[7]|head[8] == 0 {
				if f.tries == nil {
					f.tries = map[uint16]int{}
				}
				f.tries[seq]++
			}
			if f.tries[seq] > largeTries {
				limit = min(limit, smallDatagram)
			}
		}
		n := record.HeaderLen + int(binary.BigEndian.Uint16(b[11:]))
		b = b[min(n, len(b)):]
	}
	return limit
}
