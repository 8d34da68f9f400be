package export

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ipfixsuite/transport"
)

// A probe that was answered confirms what it cannot have overtaken: what was
// sent right before it comes again if the session dies then, what is older does
// not. Where the transport keeps the order all of it is confirmed.
func TestConfirm_WhatAProbeMayOvertake(t *testing.T) {
	ordered := dtlsLike
	ordered.Ordered = true
	for _, row := range []struct {
		name        string
		props       transport.Properties
		least, most uint64
	}{{"unordered", dtlsLike, 4, 6}, {"ordered", ordered, 0, 2}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &farm{props: row.props}
				e := start(t, Config{Dialer: f, MaxDelay: time.Millisecond})
				const pace = 5 * time.Millisecond // a message each
				n := 0
				write := func() {
					n++
					e.write(n, n)
					time.Sleep(pace)
				}
				time.Sleep(5 * time.Second)
				for range 400 {
					write()
				}
				first := f.list()[0]
				answered := func() uint64 { return first.Stats().ProbesAnswered }
				for was := answered(); answered() == was; {
					write()
				}
				first.fail(errRefused)
				time.Sleep(5 * time.Second)
				if err := e.close(10 * time.Second); err != nil {
					t.Error(err)
				}
				sum := e.Summary()
				atLeastOnce(t, n, sum, f.list()...)
				// Of those replayed one may have been sent behind the probe.
				if sum.RecordsReplayed < row.least || sum.RecordsReplayed > row.most {
					t.Errorf("%d records came again, want %d to %d", sum.RecordsReplayed, row.least, row.most)
				}
			})
		})
	}
}

// The end, and the end of a session that is replaced, wait for a probe behind
// which nothing can be: then nothing is left that is not confirmed.
func TestConfirm_LastOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farm{props: dtlsLike}
		e := start(t, Config{Dialer: f, MaxDelay: time.Millisecond, Rotate: 2 * time.Second})
		for i := range 2000 {
			e.write(i+1, i+1)
			time.Sleep(5 * time.Millisecond)
		}
		began := time.Now()
		if err := e.close(10 * time.Second); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d < settle/2 || d > 10*settle {
			t.Errorf("the end took %v", d)
		}
		sum := e.Summary()
		if sum.RecordsUnconfirmed != 0 || sum.RecordsReplayed != 0 || sum.Rotations < 3 || sum.CollectorsLost != 0 {
			t.Errorf("%+v", sum)
		}
		var got []int
		for _, s := range f.list() {
			check(t, s)
			got = append(got, numbers(s.domains[0])...)
		}
		if !slices.Equal(got, upTo(1, 2000)) {
			t.Errorf("%d records came", len(got))
		}
	})
}
