//go:build !unix

package dccp

import (
	"testing"
	"time"
)

// cpuTime needs Unix.
func cpuTime(*testing.B) time.Duration { return 0 }
