package metering

import (
	"testing"
	"unsafe"
)

func TestFlowFillsTwoCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(Flow{}); n != 128 {
		t.Errorf("a flow takes %d octets, want 128", n)
	}
}
