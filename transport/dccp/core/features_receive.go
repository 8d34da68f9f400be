package core

import (
	"slices"

	"ipfixsuite/transport/dccp/wire"
)

// fault is a reason to reset the connection over an option.
type fault struct {
	code wire.ResetCode // 0: none
	data [3]byte
}

func optionFault(code wire.ResetCode, o wire.Option) fault {
	f := fault{code: code}
	f.data[0] = byte(o.Type)
	copy(f.data[1:], o.Data)
	return f
}

// receivedFeature is a feature option on a valid packet that is no Data packet.
type receivedFeature struct {
	o      wire.Option
	seq    wire.Seq
	ack    wire.Seq
	hasAck bool
}

// receive processes one option as RFC 4340, Section 6.6.2, has it: unknown
// features, reordering, Changes, Confirms.
func (n *negotiation) receive(r *receivedFeature) fault {
	o, ok := wire.ParseFeature(r.o)
	if !ok {
		if r.o.Mandatory {
			return optionFault(wire.ResetMandatoryError, r.o)
		}
		return fault{}
	}
	// Their L is our remote.
	p, isChange := remote, o.Type == wire.OptChangeL || o.Type == wire.OptChangeR
	if o.Type == wire.OptChangeR || o.Type == wire.OptConfirmR {
		p = local
	}
	if !n.known(p, o.Feature) {
		switch {
		case r.o.Mandatory:
			return optionFault(wire.ResetMandatoryError, r.o)
		case isChange && n.fgsr.Less(r.seq):
			// The peer learns that we do not know it (Section 6.6.7, MUST).
			n.confirm(p, o.Feature, emptyList)
		}
		return fault{}
	}
	if !n.fgsr.Less(r.seq) {
		return fault{} // reordered (Section 6.6.4, MUST)
	}
	if isChange {
		return n.receiveChange(r, p, o)
	}
	if !r.hasAck || r.ack.Less(n.fgss) {
		return fault{} // no answer to our latest Change (Section 6.6.4, MUST)
	}
	return n.receiveConfirm(r, p, o)
}

func (n *negotiation) receiveChange(r *receivedFeature, p place, o wire.FeatureOption) fault {
	e := n.at(p, o.Feature)
	value, valid := uint64(0), false
	list := o.Values
	if o.Feature.Negotiable() {
		valid = len(list) > 0
		if valid {
			v, shared := n.reconcile(e.prefs, list)
			if !shared {
				// Nothing in common: the value stays, unless it was Mandatory
				// (Sections 6.3.1 and 6.6.9, MUST).
				if r.o.Mandatory {
					return optionFault(wire.ResetMandatoryError, r.o)
				}
				v = byte(e.value)
			}
			value = uint64(v)
		}
	} else if p == remote {
		// Change R makes no sense where the location alone decides (Section
		// 6.3.2), so only the remote's Change L is valid.
		value, valid = nonNegotiable(o.Feature, list)
	}
	if !valid {
		if r.o.Mandatory {
			return optionFault(wire.ResetMandatoryError, r.o)
		}
		n.confirm(p, o.Feature, emptyList)
		return fault{}
	}
	if o.Feature.Negotiable() {
		var b [maxPrefs + 1]byte
		b[0] = byte(value)
		n.confirm(p, o.Feature, b[:1+copy(b[1:], e.prefs)])
	} else {
		n.confirm(p, o.Feature, list)
	}
	// This answers a Change of ours as well (Section 6.6.6).
	e.change, e.changing = false, false
	n.set(p, o.Feature, value)
	return fault{}
}

func (n *negotiation) receiveConfirm(r *receivedFeature, p place, o wire.FeatureOption) fault {
	e := n.at(p, o.Feature)
	if !e.changing {
		return fault{} // part of no negotiation (Section 6.6.8)
	}
	if len(o.Values) == 0 {
		// Not understood: the value stays, but who does not know what every
		// DCCP must is not to be talked to (Section 6.6.7, SHOULD).
		if slices.Contains(required, o.Feature) {
			return optionFault(wire.ResetOptionError, r.o)
		}
		e.changing = false
		return fault{}
	}
	var value uint64
	if o.Feature.Negotiable() {
		v, shared := n.reconcile(e.prefs, o.Values[1:])
		value = uint64(o.Values[0])
		// Both ends must have reached the same (Section 6.6.8, MUST).
		if shared && value != uint64(v) || !shared && value != e.value {
			return optionFault(wire.ResetOptionError, r.o)
		}
	} else {
		v, valid := nonNegotiable(o.Feature, o.Values)
		if valid && v != e.want && v == e.value {
			// Our last Change, repeated, has been confirmed twice, and the
			// second time in a packet that acknowledges more: Linux collects
			// Confirms. The answer to the present one is still to come.
			return fault{}
		}
		if !valid || v != e.want {
			return optionFault(wire.ResetOptionError, r.o)
		}
		value = v
	}
	e.changing = false
	n.set(p, o.Feature, value)
	return fault{}
}

func (n *negotiation) set(p place, f wire.Feature, v uint64) {
	e := n.at(p, f)
	if e.value != v {
		e.value = v
		n.changed(p, f, v)
	}
}

func nonNegotiable(f wire.Feature, v []byte) (uint64, bool) {
	if f == wire.FeatSequenceWindow {
		return wire.SequenceWindow(v)
	}
	ratio, ok := wire.AckRatio(v)
	return uint64(ratio), ok
}

// confirm queues the answer to a Change.
func (n *negotiation) confirm(p place, f wire.Feature, values []byte) {
	if len(n.confirms)+3+len(values) > maxConfirms {
		return
	}
	t := wire.OptConfirmL
	if p == remote {
		t = wire.OptConfirmR
	}
	n.confirms = wire.AppendFeature(n.confirms, t, f, values...)
}
