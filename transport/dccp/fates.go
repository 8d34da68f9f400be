package dccp

import "ipfixsuite/transport"

// fates collects what became of messages, as runs. What nobody fetches is
// bounded: the oldest runs are forgotten.
type fates struct {
	on   bool
	runs []transport.Fate
}

const maxFates = 8192

func (f *fates) add(id uint64, arrived bool) {
	if !f.on {
		return
	}
	if n := len(f.runs); n > 0 {
		// Most follow their predecessor; losses are told a little later, among
		// them.
		for i := n - 1; i >= max(0, n-4); i-- {
			if r := &f.runs[i]; r.Arrived == arrived && r.Last+1 == id {
				r.Last = id
				return
			}
		}
	}
	if len(f.runs) == maxFates {
		f.runs = f.runs[:copy(f.runs, f.runs[maxFates/4:])]
	}
	f.runs = append(f.runs, transport.Fate{First: id, Last: id, Arrived: arrived})
}

// take appends the runs to dst and forgets them.
func (f *fates) take(dst []transport.Fate) []transport.Fate {
	dst = append(dst, f.runs...)
	f.runs = f.runs[:0]
	return dst
}
