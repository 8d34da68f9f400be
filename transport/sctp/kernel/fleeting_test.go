package kernel

import (
	"slices"
	"testing"
	"time"

	"ipfixsuite/transport/sctp"
)

// Which messages were given up is told when it is sure, and never guessed.
func TestFleeting(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	const lifetime = 100 * time.Millisecond
	// Message i is sent i seconds after the first.
	send := func(f *fleeting, tags ...uint32) {
		for _, tag := range tags {
			f.add(begin.Add(time.Duration(tag)*time.Second), &sctp.Message{Stream: 3, Tag: tag, Lifetime: lifetime, Data: []byte("x")})
		}
	}
	late := begin.Add(time.Hour)
	for _, c := range []struct {
		name  string
		do    func(f *fleeting)
		now   time.Time
		given uint64
		want  []uint32
	}{
		{"all arrived", func(f *fleeting) { send(f, 1, 2, 3) }, late, 0, nil},
		{"all given up", func(f *fleeting) { send(f, 1, 2, 3) }, late, 3, []uint32{1, 2, 3}},
		{"some of them", func(f *fleeting) { send(f, 1, 2, 3) }, late, 2, nil},
		{"the others were named", func(f *fleeting) { send(f, 1, 2, 3, 4); f.name(2, true); f.name(4, true); f.name(9, true) }, late, 2, []uint32{1, 3}},
		{"named in another order", func(f *fleeting) { send(f, 1, 2, 3, 4); f.name(4, true); f.name(1, true); f.name(1, false) }, late, 2, []uint32{2, 3}},
		{"a part of one was sent", func(f *fleeting) {
			send(f, 1, 2, 3)
			f.name(2, false)
			f.name(2, false)
			f.name(3, true)
			f.name(3, false)
		}, late, 2, []uint32{1}},
		{"nothing more than is named", func(f *fleeting) { send(f, 1, 2); f.name(2, false) }, late, 1, nil},
		{"less than is named", func(f *fleeting) { send(f, 1, 2); f.name(1, false); f.name(2, false) }, late, 1, nil},
		{"found out before others arrived", func(f *fleeting) {
			send(f, 1, 2)
			if got := f.resolve(begin.Add(2*time.Second+lifetime/2), 1, nil); len(got) != 1 || got[0].Tag != 1 {
				t.Errorf("found out %v", got)
			}
			if got := f.resolve(late, 1, nil); len(got) != 0 {
				t.Errorf("found out again: %v", got)
			}
			f.name(1, false) // its end, at last
			send(f, 3)
		}, late, 1, nil},
		{"nothing was under way in between", func(f *fleeting) {
			send(f, 1)
			f.idle(late, 0)
			send(f, 2, 3)
			f.idle(late, 2)
			f.idle(late, 2)
			send(f, 4)
		}, late, 2, []uint32{2, 3}},
		{"and what was unsure stays so", func(f *fleeting) { send(f, 1, 2); f.idle(late, 1); send(f, 3); f.name(3, true) }, late, 1, nil},
		{"and what was told late counts", func(f *fleeting) { send(f, 1, 2); f.idle(late, 1); send(f, 3); f.name(2, true) }, late, 1, []uint32{1}},
		{"and the next one was not taken", func(f *fleeting) { send(f, 1, 2); f.idle(late, 2); send(f, 3); f.remove(1) }, late, 2, []uint32{1, 2}},
		{"found out before others were given up", func(f *fleeting) { send(f, 1); f.resolve(late, 1, nil); send(f, 2, 3) }, late, 3, []uint32{2, 3}},
		{"the last one still lives", func(f *fleeting) { send(f, 1, 2, 3) }, begin.Add(3*time.Second + lifetime/2), 2, []uint32{1, 2}},
		{"the last one may be over by the kernel's clock", func(f *fleeting) { send(f, 1, 2, 3) }, begin.Add(3*time.Second + lifetime - early), 2, nil},
		{"the last one was not taken", func(f *fleeting) { send(f, 1, 2, 3); f.remove(1) }, late, 2, []uint32{1, 2}},
		{"once", func(f *fleeting) { send(f, 1, 2); f.settle(late, 2, nil); send(f, 3) }, late, 2, nil},
		{"again", func(f *fleeting) { send(f, 1, 2); f.settle(late, 2, nil); send(f, 3) }, late, 3, []uint32{3}},
		{"unsure once, sure again", func(f *fleeting) { send(f, 1, 2); f.settle(late, 1, nil); send(f, 3) }, late, 2, []uint32{3}},
		{"too many to tell", func(f *fleeting) {
			for range maxFleeting + 1 {
				send(f, 1)
			}
		}, late, maxFleeting, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f fleeting
			c.do(&f)
			var got []uint32
			for _, m := range f.settle(c.now, c.given, nil) {
				got = append(got, m.Tag)
				if m.Stream != 3 || m.Data != nil {
					t.Errorf("%+v", m)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("given up %v, want %v", got, c.want)
			}
			if len(f.list) != 0 || len(f.marks) != 0 || f.more {
				t.Errorf("%d left", len(f.list))
			}
		})
	}
}
