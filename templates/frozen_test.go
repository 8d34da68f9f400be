package templates

import (
	"testing"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

func TestDomain_Frozen(t *testing.T) {
	s := NewStore(StoreConfig{Reliable: true}, nil)
	d := s.Domain(1)
	define := func(body ...byte) {
		d.Templates(Message{Now: time.Unix(0, 0)}, ipfix.Set{ID: ipfix.TemplateSetID, Body: body}, func(Change) {})
	}
	define(1, 0, 0, 1, 0, 1, 0, 4) // 256: octetDeltaCount
	before := d.Frozen()
	old := before(256)
	if old == nil || old.Fields[0].ID != (ie.ID{Num: 1}) || before(257) != nil {
		t.Fatalf("%v %v", old, before(257))
	}
	define(1, 0, 0, 1, 0, 1, 0, 4) // the same again
	if n := testing.AllocsPerRun(100, func() { d.Frozen() }); n != 0 {
		t.Errorf("%v allocations while nothing changed", n)
	}
	define(1, 1, 0, 1, 0, 2, 0, 4) // 257: packetDeltaCount
	define(1, 0, 0, 0)             // 256 is withdrawn
	if before(256) != old || before(257) != nil {
		t.Error("what was frozen has changed")
	}
	after := d.Frozen()
	if after(256) != nil || after(257) == nil {
		t.Errorf("%v %v", after(256), after(257))
	}
}
