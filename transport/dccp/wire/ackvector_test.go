package wire

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// RFC 4340, Section 11.4: the vector 0,192,3,64,5 with acknowledgement 100.
func TestAckVectorExample(t *testing.T) {
	vector := []byte{0, 192, 3, 64, 5}
	want := []AckRun{
		{AckReceived, 100, 1}, {AckMissing, 99, 1}, {AckReceived, 98, 4}, {AckECNMark, 94, 1}, {AckReceived, 93, 6},
	}
	var got []AckRun
	var made []byte
	runs := NewAckRuns(100)
	for runs.Feed(vector); runs.Next(); {
		got = append(got, runs.Run)
		made = AppendAckRun(made, 0, runs.Run.State, runs.Run.Len)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !bytes.Equal(made, vector) {
		t.Errorf("made %v", made)
	}
	if AckVectorLen(vector) != 13 || want[4].First() != 88 {
		t.Errorf("%d packets, from %d", AckVectorLen(vector), want[4].First())
	}
}

// RFC 4340, Section 11.7: 0,160,3,162 with acknowledgement 100. (Where the
// text names 95 to 93 as dropped it must be 94 to 92: the run before ends at 95.)
func TestDataDroppedExample(t *testing.T) {
	want := []DropRun{{NotDropped, 100, 1}, {DropReceiveBuffer, 99, 1}, {NotDropped, 98, 4}, {DropReceiveBuffer, 94, 3}}
	var got []DropRun
	var made []byte
	runs := NewDropRuns(100)
	for runs.Feed([]byte{0, 160, 3, 162}); runs.Next(); {
		got = append(got, runs.Run)
		made = AppendDropRun(made, runs.Run.Code, runs.Run.Len)
	}
	if !slices.Equal(got, want) || !bytes.Equal(made, []byte{0, 160, 3, 162}) || want[3].First() != 92 {
		t.Errorf("got %v, made %v", got, made)
	}
}

// RFC 4340, Sections 11.4 and 11.7: long runs take several octets, long vectors
// several options, each going on where the one before left off.
func TestLongVectors(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		states := make([]AckState, 1+r.IntN(3000))
		codes := make([]DropCode, len(states))
		s, c := AckReceived, NotDropped
		for i := range states {
			if r.IntN(1+r.IntN(300)) == 0 {
				s = []AckState{AckReceived, AckECNMark, AckMissing}[r.IntN(3)]
				c = []DropCode{NotDropped, DropConstraints, DropReceiveBuffer, DropCorrupt}[r.IntN(4)]
			}
			states[i], codes[i] = s, c
		}
		var vector, blocks []byte
		for i := range states {
			vector = AppendAckRun(vector, 0, states[i], 1)
			blocks = AppendDropRun(blocks, codes[i], 1)
		}
		area := AppendDataDropped(AppendAckVector(nil, vector), blocks)
		ack := MakeSeq(r.Uint64())
		acks, drops := NewAckRuns(ack), NewDropRuns(ack)
		i, j := 0, 0
		for o := ReadOptions(area); o.Next(); {
			switch o.Option.Type {
			case OptAckVector0:
				for acks.Feed(o.Option.Data); acks.Next(); i += acks.Run.Len {
					if acks.Run.Last != ack.Add(-int64(i)) || acks.Run.State != states[i] || acks.Run.State != states[i+acks.Run.Len-1] {
						t.Fatalf("packet %d: %+v", i, acks.Run)
					}
				}
			case OptDataDropped:
				for drops.Feed(o.Option.Data); drops.Next(); j += drops.Run.Len {
					if drops.Run.Last != ack.Add(-int64(j)) || drops.Run.Code != codes[j] {
						t.Fatalf("packet %d: %+v", j, drops.Run)
					}
				}
			}
		}
		if i != len(states) || j != len(states) {
			t.Fatalf("%d and %d of %d packets", i, j, len(states))
		}
	}
	if b := AppendAckRun(nil, 0, AckMissing, 130); !bytes.Equal(b, []byte{0xff, 0xff, 0xc1}) {
		t.Errorf("%x", b)
	}
	if b := AppendDropRun(nil, NotDropped, 129); !bytes.Equal(b, []byte{127, 0}) {
		t.Errorf("%x", b)
	}
	if b := AppendDropRun(nil, DropCorrupt, 17); !bytes.Equal(b, []byte{0xbf, 0xb0}) {
		t.Errorf("%x", b)
	}
	// What stands before the vector's start is never touched.
	if b := AppendAckRun([]byte{0}, 1, AckReceived, 1); !bytes.Equal(b, []byte{0, 0}) {
		t.Errorf("%x", b)
	}
}
