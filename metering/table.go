package metering

import (
	"math/bits"
	"unsafe"
)

// chunkFlows is how many flows are allocated at once: pointers into a chunk
// stay good while the table grows.
const (
	chunkShift = 12
	chunkFlows = 1 << chunkShift
)

// none ends a list of flow numbers.
const none = ^uint32(0)

// table finds flows by key: an open-addressing index of (hash, flow number)
// words with linear probing over flows in chunks. The hash is keyed, so who
// does not know the seed cannot make flows collide.
type table struct {
	index  []uint64 // hash<<32 | number+1; 0 = free
	mask   uint32
	chunks [][]Flow
	used   uint32 // numbers handed out from the chunks
	free   uint32 // list of numbers given back, by Flow.next
	count  int
	seed   [3]uint64
}

func newTable(seed [2]uint64) table {
	const start = 1 << 10
	return table{
		index: make([]uint64, start),
		mask:  start - 1,
		free:  none,
		// The odd constants only keep a zero seed from degenerating.
		seed: [3]uint64{seed[0] ^ 0xa0761d6478bd642f, seed[1] ^ 0xe7037ed1a0b428db, bits.RotateLeft64(seed[0], 32) ^ seed[1] ^ 0x8ebc6af09c88c6e3},
	}
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (t *table) hash(k *key) uint32 {
	h := mix(k.src[1]^t.seed[0], k.dst[1]^t.seed[1])
	if k.ports&keyV6 != 0 {
		h ^= mix(k.src[0]^t.seed[1]^h, k.dst[0]^t.seed[2])
	}
	h = mix(k.ports^t.seed[2]^h, k.where^t.seed[0]^bits.RotateLeft64(h, 29))
	return uint32(h>>32) ^ uint32(h)
}

func (t *table) at(n uint32) *Flow { return &t.chunks[n>>chunkShift][n&(chunkFlows-1)] }

// find returns the number and the flow, or none.
func (t *table) find(k *key, hash uint32) (uint32, *Flow) {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		e := t.index[i]
		if e == 0 {
			return none, nil
		}
		if uint32(e>>32) == hash {
			n := uint32(e) - 1
			if f := t.at(n); f.key == *k {
				return n, f
			}
		}
	}
}

// insert adds a key that is not there. The flow is zero but for its key.
func (t *table) insert(k *key, hash uint32) (uint32, *Flow) {
	if uint32(t.count) >= t.mask/4*3 {
		t.grow()
	}
	n := t.free
	if n != none {
		t.free = t.at(n).next
	} else {
		n = t.used
		if n>>chunkShift == uint32(len(t.chunks)) {
			t.chunks = append(t.chunks, make([]Flow, chunkFlows))
		}
		t.used++
	}
	t.place(uint64(hash)<<32 | uint64(n+1))
	t.count++
	f := t.at(n)
	*f = Flow{key: *k}
	return n, f
}

func (t *table) place(e uint64) {
	i := uint32(e>>32) & t.mask
	for t.index[i] != 0 {
		i = (i + 1) & t.mask
	}
	t.index[i] = e
}

func (t *table) grow() {
	old := t.index
	t.index = make([]uint64, 2*len(old))
	t.mask = uint32(len(t.index) - 1)
	for _, e := range old {
		if e != 0 {
			t.place(e)
		}
	}
}

// remove takes the flow out and closes the gap in its probe sequence.
func (t *table) remove(n uint32) {
	f := t.at(n)
	i := t.hash(&f.key) & t.mask
	for uint32(t.index[i]) != n+1 {
		i = (i + 1) & t.mask
	}
	for j := i; ; {
		j = (j + 1) & t.mask
		e := t.index[j]
		if e == 0 {
			break
		}
		// e may move to the gap if its home does not lie behind the gap.
		if home := uint32(e>>32) & t.mask; (j-home)&t.mask >= (j-i)&t.mask {
			t.index[i] = e
			i = j
		}
	}
	t.index[i] = 0
	f.next = t.free
	t.free = n
	t.count--
}

// memory is what the table holds, in octets.
func (t *table) memory() uint64 {
	return uint64(len(t.index))*8 + uint64(len(t.chunks))*chunkFlows*uint64(unsafe.Sizeof(Flow{}))
}
