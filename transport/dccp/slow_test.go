package dccp

import (
	"testing"
	"time"
)

// RFC 4340, Section 11.6: who sends as much as the others is asked not to go
// faster, who has only begun is not, and nobody is once the buffer has been empty
// for a while.
func TestRFC4340_11_6_WhoIsAsked(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sends []int  // packets of each connection in a millisecond
		asked []bool // in the long run
	}{
		{"one", []int{100}, []bool{true}},
		{"equals", []int{3, 3, 3, 3, 3, 3, 3, 3}, []bool{true, true, true, true, true, true, true, true}},
		{"one who begins", []int{50, 50, 1}, []bool{true, true, false}},
		{"one far ahead", []int{100, 1, 1}, []bool{true, false, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var k crowd
			shares := make([]share, len(tt.sends))
			asked := make([]int, len(tt.sends))
			now := time.Unix(1000, 0)
			tick := func(pressed bool) {
				now = now.Add(time.Millisecond)
				if pressed {
					k.pressed = now
				}
				k.read(now)
				for i, n := range tt.sends {
					for range n {
						if k.ask(&shares[i]) {
							asked[i]++
						}
					}
				}
			}
			tick(false)
			if asked[0] != 0 {
				t.Error("asked for no reason")
			}
			for range 5000 {
				tick(true)
			}
			for i, n := range tt.sends {
				if all := 5000 * n; tt.asked[i] && asked[i] < all*9/10 || !tt.asked[i] && asked[i] != 0 {
					t.Errorf("%d asked %d of %d times", i, asked[i], all)
				}
			}
			for range slowTime / time.Millisecond {
				tick(false)
			}
			clear(asked)
			tick(false)
			if asked[0] != 0 {
				t.Error("asked for ever")
			}
		})
	}
}
