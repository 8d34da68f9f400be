package sctp

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipfixsuite/transport"
)

func TestFates(t *testing.T) {
	arrived := func(first, last uint64) transport.Fate {
		return transport.Fate{First: first, Last: last, Arrived: true}
	}
	lost := func(first, last uint64) transport.Fate { return transport.Fate{First: first, Last: last} }
	for _, c := range []struct {
		name string
		do   func(f *fates)
		want []transport.Fate
	}{
		{"nothing", func(f *fates) { f.taken = 5; f.acknowledge(0) }, nil},
		{"some", func(f *fates) { f.taken = 5; f.acknowledge(3) }, []transport.Fate{arrived(1, 3)}},
		{"more than there is", func(f *fates) { f.taken = 5; f.acknowledge(9) }, []transport.Fate{arrived(1, 5)}},
		{"in steps", func(f *fates) { f.taken = 5; f.acknowledge(2); f.acknowledge(4); f.acknowledge(3) }, []transport.Fate{arrived(1, 4)}},
		{"others before", func(f *fates) { f.taken = 2; f.other(1); f.other(2); f.acknowledge(3) }, []transport.Fate{arrived(1, 1)}},
		{"others between", func(f *fates) { f.taken = 4; f.other(2); f.other(4); f.acknowledge(4); f.acknowledge(6) }, []transport.Fate{arrived(1, 4)}},
		{"others yet unknown", func(f *fates) { f.taken = 4; f.other(2); f.other(4); f.acknowledge(3) }, []transport.Fate{arrived(1, 2)}},
		{"failed", func(f *fates) { f.taken = 5; f.fail(tag(3)); f.fail(tag(3)); f.acknowledge(5) }, []transport.Fate{lost(3, 3), arrived(1, 2), arrived(4, 5)}},
		{"first and last failed", func(f *fates) { f.taken = 3; f.fail(tag(3)); f.fail(tag(1)); f.acknowledge(3) }, []transport.Fate{lost(3, 3), lost(1, 1), arrived(2, 2)}},
		{"all failed", func(f *fates) { f.taken = 2; f.fail(tag(1)); f.fail(tag(2)); f.acknowledge(2) }, []transport.Fate{lost(1, 2)}},
		{"failed beyond what is known", func(f *fates) { f.taken = 9; f.fail(tag(7)); f.acknowledge(5) }, []transport.Fate{lost(7, 7), arrived(1, 5)}},
		{"failure told too late or of nobody", func(f *fates) { f.taken = 5; f.acknowledge(5); f.fail(tag(5)); f.fail(tag(6)) }, []transport.Fate{arrived(1, 5)}},
		{"none of the session's", func(f *fates) { f.taken, f.told = 1<<31+1, 1<<31-1; f.fail(0); f.acknowledge(1<<31 + 1) },
			[]transport.Fate{arrived(1<<31, 1<<31+1)}},
		{"tags wrap", func(f *fates) {
			f.taken, f.told = 1<<32+5, 1<<32-2
			f.fail(tag(1<<32 + 1))
			f.acknowledge(1<<32 + 3)
		}, []transport.Fate{lost(1<<32+1, 1<<32+1), arrived(1<<32-1, 1<<32), arrived(1<<32+2, 1<<32+3)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f fates
			c.do(&f)
			if d := cmp.Diff(c.want, f.fetch(nil)); d != "" {
				t.Error(d)
			}
			if more := f.fetch(nil); len(more) > 0 {
				t.Errorf("told twice: %v", more)
			}
		})
	}
}

// Nobody may be asking.
func TestFates_Bounded(t *testing.T) {
	var f fates
	for i := range uint64(maxReady) * 2 {
		f.taken = 2 * (i + 1)
		f.fail(tag(f.taken))
		f.acknowledge(f.taken)
	}
	if len(f.ready) > maxReady || len(f.failed) > 0 {
		t.Errorf("%d fates and %d failures kept", len(f.ready), len(f.failed))
	}
}
