package core

import (
	"bytes"
	"slices"
	"time"

	"ipfixsuite/transport/dccp/ccid"
	"ipfixsuite/transport/dccp/wire"
)

// place is where a feature lies: a feature F/A is local at A and remote at B.
type place uint8

const (
	local  place = iota // Change L is ours, Change R the peer's
	remote              // Change R is ours, Change L the peer's
)

// featureSlots: the nine of RFC 4340 and CCID 3's Send Loss Event Rate.
const featureSlots = 10

func slotOf(f wire.Feature) int {
	switch {
	case f >= wire.FeatCCID && f <= wire.FeatCheckDataChecksum:
		return int(f) - 1
	case f == wire.FeatSendLossEventRate:
		return featureSlots - 1
	}
	return -1
}

func featureOf(slot int) wire.Feature {
	if slot == featureSlots-1 {
		return wire.FeatSendLossEventRate
	}
	return wire.Feature(slot + 1)
}

// maxPrefs bounds preference lists: Minimum Checksum Coverage has 16 values.
const maxPrefs = 16

// feature is one feature at one place. Of RFC 4340's three states UNSTABLE does
// not occur: what we want is not changed while a Change is under way.
type feature struct {
	value uint64
	// prefs, of the server-priority ones, is what we accept, best first.
	prefs []byte
	// want, of the non-negotiable ones at our side, is the value under way.
	want uint64
	// change: a Change is to be sent; changing: it was, and is repeated until
	// the Confirm comes. mandatory: with Mandatory before it.
	change, changing, mandatory bool
}

// negotiation is all features of a connection, and what is to be sent for them.
type negotiation struct {
	server bool
	table  [2][featureSlots]feature
	// confirms are Confirm options to be sent, as octets.
	confirms []byte
	// kept are those already sent, which a client in PARTOPEN repeats as long
	// as it acknowledges keptFor, the packet that they answer.
	kept    []byte
	keptFor wire.Seq
	// Reordering: the greatest numbers with feature options received, and with
	// new Changes sent (RFC 4340, Section 6.6.4).
	fgsr, fgss wire.Seq
	// Repetition of Changes.
	retry   time.Time
	backoff time.Duration
	// open: a Change is to be sent or under way.
	open bool
	// changed is told of each value that changes.
	changed func(place, wire.Feature, uint64)
}

// maxConfirms bounds the Confirms that wait: more options than fit a header
// beside others are not answered, and so repeated.
const maxConfirms = 512

var (
	no, yes   = []byte{0}, []byte{1}
	either    = []byte{0, 1}
	rather    = []byte{1, 0}
	anyCsCov  = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	required  = []wire.Feature{wire.FeatCCID, wire.FeatShortSeqnos, wire.FeatSequenceWindow}
	emptyList []byte
)

func (n *negotiation) at(p place, f wire.Feature) *feature { return &n.table[p][slotOf(f)] }

func (n *negotiation) value(p place, f wire.Feature) uint64 { return n.at(p, f).value }

// start sets the initial values (RFC 4340, Table 4) and what we accept.
func (n *negotiation) start(cfg *Config, server bool) {
	n.server, n.open = server, true
	for p := range n.table {
		for s := range n.table[p] {
			n.table[p][s] = feature{prefs: either}
		}
		n.table[p][slotOf(wire.FeatCCID)] = feature{value: uint64(ccid.TCPLike), prefs: ccidList(cfg)}
		n.table[p][slotOf(wire.FeatSequenceWindow)] = feature{value: wire.DefaultSequenceWindow}
		n.table[p][slotOf(wire.FeatAckRatio)] = feature{value: wire.DefaultAckRatio}
		// Short numbers are easily guessed and save little: never.
		n.table[p][slotOf(wire.FeatShortSeqnos)].prefs = no
		n.table[p][slotOf(wire.FeatSendAckVector)].prefs = rather
	}
	// We cannot read ECN bits, so this comes first of all (RFC 4340, Section
	// 12.1, MUST): Mandatory, until confirmed.
	ecn := n.at(local, wire.FeatECNIncapable)
	ecn.prefs, ecn.change, ecn.mandatory = yes, true, true

	n.at(local, wire.FeatMinCsCov).prefs = []byte{0}
	if cfg.MinCoverage > 0 {
		n.at(local, wire.FeatMinCsCov).prefs = []byte{cfg.MinCoverage, 0}
	}
	n.at(remote, wire.FeatMinCsCov).prefs = anyCsCov
	if cfg.Coverage > 0 {
		f := n.at(remote, wire.FeatMinCsCov)
		f.prefs, f.change = []byte{cfg.Coverage, 0}, true
	}
	n.at(local, wire.FeatCheckDataChecksum).prefs = rather
	n.wish(wire.FeatSequenceWindow, cfg.SequenceWindow)

	if !server {
		// A server waits for what the client says; a client asks at once.
		for p := range n.table {
			f := n.at(place(p), wire.FeatCCID)
			f.change = true
			// Who cannot use the default says so (RFC 4340, Section 10, MUST).
			f.mandatory = !slices.Contains(f.prefs, byte(ccid.TCPLike))
		}
	}
}

func ccidList(cfg *Config) []byte {
	b := make([]byte, 0, len(cfg.CCIDs))
	for _, d := range cfg.CCIDs {
		b = append(b, byte(d.ID))
	}
	return b
}

// wish asks for a new value of a non-negotiable feature of ours. While another
// is under way it is ignored: the CCID will wish again.
func (n *negotiation) wish(f wire.Feature, v uint64) {
	e := n.at(local, f)
	if e.changing || e.change && e.want == v || e.value == v {
		return
	}
	e.want, e.change, n.open = v, true, true
}

// ask opens the negotiation of a server-priority feature, unless it has the
// first of the wanted values or is under way.
func (n *negotiation) ask(p place, f wire.Feature, values []byte, mandatory bool) {
	if slotOf(f) < 0 {
		return
	}
	e := n.at(p, f)
	if e.changing {
		return
	}
	e.prefs = values
	if e.value != uint64(values[0]) {
		e.change, e.mandatory, n.open = true, mandatory, true
	}
}

// keepCCIDs ends the choice of CCIDs with the handshake: from now on we accept
// what is in force. Otherwise a peer could make our congestion control start
// afresh as often as it likes.
func (n *negotiation) keepCCIDs() {
	for p := range n.table {
		e := n.at(place(p), wire.FeatCCID)
		if i := bytes.IndexByte(e.prefs, byte(e.value)); i >= 0 && !e.change && !e.changing {
			e.prefs = e.prefs[i : i+1]
		}
	}
}

// known reports whether f is a feature that we understand at p: those of the
// CCIDs only while such a CCID is in force on their half-connection.
func (n *negotiation) known(p place, f wire.Feature) bool {
	if slotOf(f) < 0 {
		return false
	}
	if f < 128 {
		return true
	}
	// Features from 192 lie at the HC-Receiver, so that a local one belongs
	// to the remote sender's CCID (RFC 4340, Section 10.3).
	half := p
	if f >= 192 {
		half = 1 - p
	}
	return n.value(half, wire.FeatCCID) == uint64(ccid.TFRC)
}

// reconcile picks by server priority: the first of the server's list that the
// client's also has (RFC 4340, Section 6.3.1).
func (n *negotiation) reconcile(ours, theirs []byte) (byte, bool) {
	server, client := theirs, ours
	if n.server {
		server, client = ours, theirs
	}
	for _, v := range server {
		if bytes.IndexByte(client, v) >= 0 {
			return v, true
		}
	}
	return 0, false
}

// pending reports whether a packet should go for the negotiation's sake.
func (n *negotiation) pending(now time.Time) bool {
	return len(n.confirms) > 0 || n.changeDue(now)
}

// changeDue reports whether a Change is new, or to be repeated.
func (n *negotiation) changeDue(now time.Time) bool {
	if !n.open {
		return false
	}
	repeat := !n.retry.IsZero() && !now.Before(n.retry)
	for p := range n.table {
		for s := range n.table[p] {
			if e := &n.table[p][s]; e.change || e.changing && repeat {
				return true
			}
		}
	}
	return false
}

// appendChanges appends all Changes under way, for the packet seq.
func (n *negotiation) appendChanges(now time.Time, b []byte, seq wire.Seq, rtt time.Duration) []byte {
	fresh, open := false, false
	for p := range n.table {
		for s := range n.table[p] {
			e := &n.table[p][s]
			if !e.change && !e.changing {
				continue
			}
			open = true
			if e.change {
				e.change, e.changing, fresh = false, true, true
			}
			b = e.appendChange(b, place(p), featureOf(s))
		}
	}
	if fresh {
		n.fgss = seq
		n.backoff = 0
	}
	n.retry, n.open = time.Time{}, open
	if open {
		// Not sooner than a round trip, then ever slower (Section 6.6.3).
		if n.backoff == 0 {
			n.backoff = max(rtt, minFeatureRetry)
		} else {
			n.backoff = min(2*n.backoff, maxBackoff)
		}
		n.retry = now.Add(n.backoff)
	}
	return b
}

func (e *feature) appendChange(b []byte, p place, f wire.Feature) []byte {
	if e.mandatory {
		b = append(b, byte(wire.OptMandatory))
	}
	t := wire.OptChangeL
	if p == remote {
		t = wire.OptChangeR
	}
	if f.Negotiable() {
		return wire.AppendFeature(b, t, f, e.prefs...)
	}
	var v [8]byte
	if f == wire.FeatSequenceWindow {
		return wire.AppendFeature(b, t, f, wire.AppendSequenceWindow(v[:0], e.want)...)
	}
	return wire.AppendFeature(b, t, f, byte(e.want>>8), byte(e.want))
}

// settled lets the timer rest when nothing is under way.
func (n *negotiation) settled() {
	for p := range n.table {
		for s := range n.table[p] {
			if e := &n.table[p][s]; e.change || e.changing {
				return
			}
		}
	}
	n.retry, n.open = time.Time{}, false
}

// takeConfirms appends the Confirms that wait to a packet that acknowledges
// ack. In PARTOPEN they are kept for the packets to come: the one that completes
// the handshake may be lost, and servers refuse a client whose first packet
// lacks them. Once we acknowledge another packet they are history: to the peer
// they would seem to answer what it asked since.
func (n *negotiation) takeConfirms(b []byte, keep bool, ack wire.Seq) []byte {
	switch {
	case len(n.confirms) > 0:
		n.kept = n.kept[:0]
		if keep {
			n.kept, n.keptFor = append(n.kept, n.confirms...), ack
		}
		b = append(b, n.confirms...)
		n.confirms = n.confirms[:0]
	case keep && n.keptFor == ack:
		b = append(b, n.kept...)
	}
	return b
}
