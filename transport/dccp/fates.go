package dccp

import "ipfixsuite/transport"

// fates collects what became of messages, as runs. What nobody fetches is
// bounded: the oldest runs are forgotten.
type fates struct {
	on   bool
	runs []transport.Fate
}

const (
	maxFates = 8192
	// fatesNear is how many of the latest runs a fate may belong to: one
	// acknowledgement tells of messages out of order.
	fatesNear = 8
)

func (f *fates) add(id uint64, arrived bool) {
	if !f.on {
		return
	}
	if len(f.runs) == maxFates {
		f.runs = f.runs[:copy(f.runs, f.runs[maxFates/4:])]
	}
	f.runs = append(f.runs, transport.Fate{First: id, Last: id, Arrived: arrived})
	// Join it with its neighbours on both sides, as far as they are near.
	for i := len(f.runs) - 2; i >= max(0, len(f.runs)-fatesNear); i-- {
		last := &f.runs[len(f.runs)-1]
		switch r := f.runs[i]; {
		case r.Arrived != arrived:
			continue
		case r.Last+1 == last.First:
			last.First = r.First
		case last.Last+1 == r.First:
			last.Last = r.Last
		default:
			continue
		}
		f.runs = append(f.runs[:i], f.runs[i+1:]...)
	}
}

// take appends the runs to dst and forgets them.
func (f *fates) take(dst []transport.Fate) []transport.Fate {
	dst = append(dst, f.runs...)
	f.runs = f.runs[:0]
	return dst
}
