package ie

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLearnt_RFC5610_3_9(t *testing.T) {
	r := NewRegistry(nil)
	element := func(num uint16, name string) Element {
		return Element{ID: ID{PEN: 32473, Num: num}, Name: name, Type: Unsigned32, Units: "packets", Max: 7}
	}
	two, one, torn := element(2, "two"), element(1, "one"), element(3, "torn")
	for _, e := range []Element{two, one, torn} {
		if err := r.Learn(e); err != nil {
			t.Fatal(err)
		}
	}
	torn.Type = Unsigned8
	if r.Learn(torn) == nil {
		t.Fatal("no conflict")
	}
	got := slices.Collect(r.Learnt())
	if diff := cmp.Diff([]Element{one, two}, got); diff != "" {
		t.Error(diff)
	}
	again := NewRegistry(nil)
	for _, e := range got {
		if err := again.Learn(e); err != nil {
			t.Error(err)
		}
	}
	if n := len(slices.Collect(NewRegistry(r).Learnt())); n != 0 {
		t.Errorf("%d of the parent's", n)
	}
}
