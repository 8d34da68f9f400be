package fanout

import (
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

// flowKey says which fields of a Template tell its flows apart.
type flowKey struct {
	plan *ipfix.Template // finds fields in records; nil: the whole record counts
	// The ends of the conversation: address and port, -1 if there is none.
	from, to [2]int
	protocol int
	fields   []int // where there are no addresses
}

// Elements of the key. ICMP types, VLANs and interfaces differ between the
// directions of a conversation.
const (
	protocolIdentifier       = 4
	sourceTransportPort      = 7
	sourceIPv4Address        = 8
	destinationTransportPort = 11
	destinationIPv4Address   = 12
	sourceIPv6Address        = 27
	destinationIPv6Address   = 28
)

func keyOf(scope int, specs []ipfix.FieldSpec) flowKey {
	k := flowKey{from: [2]int{-1, -1}, to: [2]int{-1, -1}, protocol: -1}
	// The id does not matter here.
	plan, err := ipfix.NewTemplate(ipfix.MinDataSetID, scope, specs, ie.IANA())
	if err != nil || scope > 0 {
		return k
	}
	k.plan = plan
	set := func(p *int, i int) {
		if *p < 0 {
			*p = i
		}
	}
	for i, s := range specs {
		if s.PEN != 0 {
			continue
		}
		switch s.Num {
		case sourceIPv4Address, sourceIPv6Address:
			set(&k.from[0], i)
		case destinationIPv4Address, destinationIPv6Address:
			set(&k.to[0], i)
		case sourceTransportPort:
			set(&k.from[1], i)
		case destinationTransportPort:
			set(&k.to[1], i)
		case protocolIdentifier:
			set(&k.protocol, i)
		}
	}
	return k
}

// withKeys is k with the fields of a flowKeyIndicator, which count where
// there are no addresses.
func (k flowKey) withKeys(keys uint64) flowKey {
	k.fields = nil
	if k.plan == nil {
		return k
	}
	for i := range min(64, len(k.plan.Fields)) {
		if keys&(1<<i) != 0 {
			k.fields = append(k.fields, i)
		}
	}
	return k
}

// FNV-1a of 64 bits.
const (
	offset64 = 14695981039346656037
	prime64  = 1099511628211
)

func hashBytes(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * prime64
	}
	return h
}

// mix spreads the bits of a hash (the finalizer of splitmix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// hash is the same for both directions of a conversation.
func (k *flowKey) hash(rec []byte) uint64 {
	var r ipfix.Records
	if k.plan == nil {
		return hashBytes(offset64, rec)
	}
	if r.Reset(k.plan, rec); !r.Next() {
		return hashBytes(offset64, rec)
	}
	if k.from[0] < 0 && k.to[0] < 0 {
		if len(k.fields) == 0 {
			return hashBytes(offset64, rec)
		}
		h := uint64(offset64)
		for _, i := range k.fields {
			h = hashBytes(h, r.View(i))
		}
		return h
	}
	end := func(e [2]int) uint64 {
		h := uint64(offset64)
		for _, i := range e {
			if i >= 0 {
				h = hashBytes(h, r.View(i))
			}
		}
		return mix(h)
	}
	h := end(k.from) + end(k.to)
	if k.protocol >= 0 {
		h = hashBytes(h, r.View(k.protocol))
	}
	return h
}

// ranked is a collector and its weight for a flow.
type ranked struct {
	weight uint64
	i      int
}

type ranking [maxMembers]ranked

// rank orders the collectors for a record's flow, the heaviest first
// (rendezvous hashing), and returns their number: those that have the
// Template.
func (t *table) rank(order *ranking, h *handle, rec []byte) int {
	flow := h.key.hash(rec)
	n := 0
	for i, m := range t.members {
		if h.at[i] == nil {
			continue
		}
		w := mix(flow ^ m.hash)
		at := n
		for ; at > 0 && order[at-1].weight < w; at-- {
			order[at] = order[at-1]
		}
		order[at] = ranked{w, i}
		n++
	}
	return n
}
