package dccp

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

func TestCarried(t *testing.T) {
	var m carried
	for _, id := range []uint64{3, 4, 6, 7, 8, 11} { // 1, 2, 5, 9, 10: handshakes and heartbeats
		m.sent(id)
	}
	tell := func(all ...transport.Fate) []transport.Fate {
		return m.tell(nil, func(dst []transport.Fate) []transport.Fate { return append(dst, all...) })
	}
	for _, row := range []struct{ all, want []transport.Fate }{
		{[]transport.Fate{{First: 1, Last: 2, Arrived: true}}, nil},
		{[]transport.Fate{{First: 6, Last: 6}}, []transport.Fate{{First: 3, Last: 3}}},
		{[]transport.Fate{{First: 1, Last: 5, Arrived: true}, {First: 7, Last: 7, Arrived: true}},
			[]transport.Fate{{First: 1, Last: 2, Arrived: true}, {First: 4, Last: 4, Arrived: true}}},
		{[]transport.Fate{{First: 9, Last: 12, Arrived: true}}, []transport.Fate{{First: 6, Last: 6, Arrived: true}}},
		{[]transport.Fate{{First: 8, Last: 8}}, []transport.Fate{{First: 5, Last: 5}}},
	} {
		if d := cmp.Diff(row.want, tell(row.all...)); d != "" {
			t.Errorf("%v: %s", row.all, d)
		}
	}
	if len(m.ids) != 0 {
		t.Errorf("%d messages are remembered after all", len(m.ids))
	}
	m.sent(13)
	if got := tell(transport.Fate{First: 13, Last: 13, Arrived: true}); len(got) != 1 || got[0].First != 7 {
		t.Errorf("the seventh message: %v", got)
	}
}

func TestCarried_NobodyAsks(t *testing.T) {
	var m carried
	for id := range uint64(3 * maxCarried) {
		m.sent(id + 1)
	}
	got := m.tell(nil, func(dst []transport.Fate) []transport.Fate {
		return append(dst, transport.Fate{First: 1, Last: 3 * maxCarried, Arrived: true})
	})
	if n := len(m.ids); n != 0 || len(got) != 1 || got[0].Last != 3*maxCarried || got[0].First <= maxCarried {
		t.Errorf("%d remembered, told %v", n, got)
	}
}
