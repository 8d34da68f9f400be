package fanout

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/export"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

func TestHash_ConversationsStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(0), newCollector(0), newCollector(0), newCollector(0)}
		f := run(t, Config{Mode: Hash}, 8<<20, list...)
		p := define(t, f)
		const n = 20_000
		for i := range uint64(n) {
			a, b, s, d := byte(i), byte(i>>4), uint16(i*7), uint16(443)
			for _, rec := range [][]byte{flow(a, b, s, d, 2*i), flow(b, a, d, s, 2*i+1)} {
				if err := f.Write(t.Context(), p, rec); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := closeFanout(f, time.Minute); err != nil {
			t.Error(err)
		}
		total := 0
		for i, c := range list {
			seen := make(map[uint64]int)
			for _, rec := range c.got() {
				seen[binary.BigEndian.Uint64(rec[13:])/2]++
			}
			for conv, ways := range seen {
				if ways != 2 {
					t.Fatalf("conversation %d has %d records at collector %d", conv, ways, i)
				}
			}
			total += len(c.got())
			if len(seen) < n/4*9/10 || len(seen) > n/4*11/10 {
				t.Errorf("collector %d has %d of %d conversations", i, len(seen), n)
			}
		}
		if total != 2*n {
			t.Errorf("%d records", total)
		}
	})
}

// TestHash_ConsistentWhenTheListChanges: a collector that goes takes only its
// own flows along, whatever its place in the list.
func TestHash_ConsistentWhenTheListChanges(t *testing.T) {
	names := []string{"udp://a", "udp://b", "udp://c", "udp://d", "udp://e"}
	place := func(names []string) func(uint64) string {
		f := &table{}
		h := &handle{key: keyOf(0, flowSpecs())}
		for _, n := range names {
			f.members = append(f.members, &member{name: n, hash: hashBytes(offset64, []byte(n))})
			h.at = append(h.at, &export.Template{})
		}
		return func(i uint64) string {
			var order ranking
			f.rank(&order, h, flow(byte(i), byte(i>>8), uint16(i), 53, 0))
			return names[order[0].i]
		}
	}
	before := place(names)
	for gone := range names {
		after := place(append(slices.Clone(names[gone+1:]), names[:gone]...)) // in another order, too
		moved := 0
		for i := range uint64(10_000) {
			was := before(i)
			if is := after(i); was != names[gone] && is != was {
				t.Fatalf("flow %d moved from %s to %s when %s went", i, was, is, names[gone])
			} else if is != was {
				moved++
			}
		}
		if moved < 1500 || moved > 2500 {
			t.Errorf("%d of 10000 flows moved when %s went", moved, names[gone])
		}
	}
}

func TestHash_DeadCollectorsFlowsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []*collector{newCollector(1e6), newCollector(0), newCollector(1e6)}
		list[1].dead.Store(true)
		f := run(t, Config{Mode: Hash}, 64<<10, list...)
		p := define(t, f)
		began := time.Now()
		write(t, f, p, 200_000)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
		_ = closeFanout(f, time.Second)
		got := len(list[0].got()) + len(list[2].got())
		st := f.Collectors()[1]
		if uint64(got)+st.RecordsDropped != 200_000 || st.RecordsDropped > 64<<10/20 || st.RecordsDiverted == 0 || !st.Behind {
			t.Errorf("%d received, %+v", got, st)
		}
	})
}

func TestHash_KeysWithoutAddresses(t *testing.T) {
	mac := []ipfix.FieldSpec{{ID: ie.ID{Num: 56}, Length: 6}, {ID: ie.ID{Num: 1}, Length: 8}}
	rec := func(m, n byte) []byte { return []byte{2, 0, 0, 0, 0, m, 0, 0, 0, 0, 0, 0, 0, n} }
	k := keyOf(0, mac)
	if k.hash(rec(1, 1)) == k.hash(rec(1, 2)) {
		t.Error("without flow keys the whole record counts")
	}
	k = k.withKeys(1)
	if k.hash(rec(1, 1)) != k.hash(rec(1, 2)) || k.hash(rec(1, 1)) == k.hash(rec(2, 1)) {
		t.Error("with flow keys they count alone")
	}
	if k := keyOf(1, mac); k.hash(rec(1, 1)) == k.hash(rec(1, 2)) {
		t.Error("options records count whole")
	}
	if k.hash(nil) != k.hash([]byte{}) {
		t.Error("a record that cannot be read")
	}
}
