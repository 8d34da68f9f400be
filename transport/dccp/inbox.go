package dccp

// inbox holds messages that came and were not read yet, in a ring of octets
// that grows to its bound and is then reused.
type inbox struct {
	octets     []byte
	from, used int
	sizes      []int32
	head, n    int
	limit      int // octets
}

const (
	// messageCost is what a message counts beside its octets, so that empty
	// ones are bounded as well.
	messageCost = 16
	minInbox    = 2048
)

// push keeps a message and tells whether there was room.
func (q *inbox) push(msg []byte) bool {
	if q.used+len(msg)+messageCost*(q.n+1) > q.limit {
		return false
	}
	if need := q.used + len(msg); need > len(q.octets) {
		size := max(minInbox, len(q.octets))
		for size < need {
			size *= 2
		}
		grown := make([]byte, size)
		k := copy(grown, q.octets[q.from:min(q.from+q.used, len(q.octets))])
		copy(grown[k:], q.octets[:q.used-k])
		q.octets, q.from = grown, 0
	}
	if q.n == len(q.sizes) {
		grown := make([]int32, max(8, 2*len(q.sizes)))
		for i := range q.n {
			grown[i] = q.sizes[(q.head+i)%len(q.sizes)]
		}
		q.sizes, q.head = grown, 0
	}
	if len(msg) > 0 {
		to := (q.from + q.used) % len(q.octets)
		k := copy(q.octets[to:], msg)
		copy(q.octets, msg[k:])
	}
	q.used += len(msg)
	q.sizes[(q.head+q.n)%len(q.sizes)] = int32(len(msg))
	q.n++
	return true
}

// pop copies the oldest message into b and tells its size, which may be more
// than what b took.
func (q *inbox) pop(b []byte) (n, size int) {
	size = int(q.sizes[q.head])
	b = b[:min(len(b), size)]
	if len(b) > 0 {
		k := copy(b, q.octets[q.from:])
		copy(b[k:], q.octets)
	}
	q.head = (q.head + 1) % len(q.sizes)
	q.n--
	q.used -= size
	if q.used == 0 {
		q.from = 0
	} else {
		q.from = (q.from + size) % len(q.octets)
	}
	return len(b), size
}
