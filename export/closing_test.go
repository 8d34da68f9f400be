package export

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A collector that dies and is back at once, right when the exporter is to end:
// the session made for a second opinion is not given up for that, and what the
// dead one had not confirmed goes there, within seconds. So do the last
// statistics.
func TestClose_WhileTheCollectorIsBack(t *testing.T) {
	for _, at := range []time.Duration{0, 300 * time.Millisecond, 700 * time.Millisecond, 1200 * time.Millisecond, 2500 * time.Millisecond} {
		for _, opened := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				f := &farm{props: dtlsLike, takes: 20 * time.Millisecond}
				e := start(t, Config{Dialer: f, MaxDelay: 10 * time.Millisecond})
				time.Sleep(10 * time.Second)
				f.list()[0].die()
				e.write(1, 100)
				for opened && len(f.list()) == 1 {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(at)
				began := time.Now()
				if err := e.close(20 * time.Second); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("%v later, opened %v: the end took %v", at, opened, took)
				}
				sum := e.Summary()
				atLeastOnce(t, 100, sum, f.list()[1:]...)
				if sum.RecordsReplayed != 100 || sum.RecordsUnconfirmed != 0 || sum.CollectorsLost != 1 {
					t.Errorf("%+v", sum)
				}
				last := f.list()[len(f.list())-1]
				if !slices.ContainsFunc(last.domains[0].options, func(o map[uint16]uint64) bool { _, ok := o[notSentFlowTotalCount]; return ok }) {
					t.Error("no final statistics")
				}
				f.checkSpacing(t)
			})
		}
	}
}
