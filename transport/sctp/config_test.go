package sctp

import (
	"testing"
	"time"
)

// Whatever is set, the timers' bounds are in order.
func TestConfig_WithDefaults(t *testing.T) {
	for _, c := range []Config{
		{}, {RTOMax: time.Millisecond}, {RTOMax: time.Minute}, {RTOMin: 5 * time.Second}, {RTOMin: time.Millisecond},
		{RTOMin: 10 * time.Millisecond, RTOMax: 20 * time.Millisecond},
	} {
		got := c.WithDefaults()
		if got.RTOMin <= 0 || got.RTOMin > got.RTOInitial || got.RTOInitial > got.RTOMax ||
			c.RTOMin != 0 && got.RTOMin != c.RTOMin || c.RTOMax != 0 && got.RTOMax != c.RTOMax {
			t.Errorf("%+v became %v, %v, %v", c, got.RTOMin, got.RTOInitial, got.RTOMax)
		}
	}
}

func TestSessionConfig_Validate(t *testing.T) {
	if err := (SessionConfig{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (SessionConfig{Lifetime: -1}).Validate(); err == nil {
		t.Error("a negative lifetime was taken")
	}
}
