package collect

import (
	"sync"
	"time"
)

// maxReports bounds how many Exporting or Metering Processes of one exporter
// are told apart in what it reports of itself.
const maxReports = 64

// Reported is what an exporter says of its own losses (RFC 7011, Sections 4.2
// and 4.3), since it was first heard of.
type Reported struct {
	DroppedRecords uint64 `json:"droppedRecords"` // not sent by the Exporting Process
	DroppedPackets uint64 `json:"droppedPackets"`
	DroppedOctets  uint64 `json:"droppedOctets"`
	IgnoredPackets uint64 `json:"ignoredPackets"` // by the Metering Process
	IgnoredOctets  uint64 `json:"ignoredOctets"`
}

func (r *Reported) add(o Reported) {
	r.DroppedRecords += o.DroppedRecords
	r.DroppedPackets += o.DroppedPackets
	r.DroppedOctets += o.DroppedOctets
	r.IgnoredPackets += o.IgnoredPackets
	r.IgnoredOctets += o.IgnoredOctets
}

// An exporter is one identity with its sessions. Several at a time are normal:
// an exporter that changes to a new session has two.
type exporter struct {
	identity string
	sessions map[*receiver]struct{}
	past     SessionStats // of sessions that ended
	opened   uint64
	resumed  uint64
	lastSeen time.Time
	logs     sampler          // its share of the log
	ended    []SessionAccount // the last that did

	mu      sync.Mutex
	reports map[reportKey]*report
	told    Reported // as it stands in the log
}

type report struct {
	exportTime uint32
	totals     [5]total
}

// reportKey is the process that reports: the same one on all sessions of an
// exporter.
type reportKey struct {
	domain uint32
	kind   Control
	scope  [16]byte
}

// A total is a counter of the exporter's that never goes back, unless it
// begins anew.
type total struct {
	base, last uint64
}

func (t *total) set(n uint64) {
	if n < t.last {
		t.base += t.last
	}
	t.last = n
}

// report takes one options data record of reliability statistics; counts in the
// order of Reported, with have a bit for each that was there.
// On two sessions of the exporter the older report may come last: it is left
// out.
func (e *exporter) report(k reportKey, exportTime uint32, counts *[5]uint64, have uint8) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.reports[k]
	if t == nil {
		if len(e.reports) >= maxReports {
			return
		}
		if e.reports == nil {
			e.reports = make(map[reportKey]*report)
		}
		t = &report{exportTime: exportTime}
		e.reports[k] = t
	}
	if int32(exportTime-t.exportTime) < 0 {
		return
	}
	for i := range t.totals {
		if n := counts[i]; have&(1<<i) != 0 && (n >= t.totals[i].last || exportTime != t.exportTime) {
			t.totals[i].set(n)
		}
	}
	t.exportTime = exportTime
}

func (e *exporter) reported() (r Reported) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.reports {
		t := &p.totals
		r.add(Reported{
			t[0].base + t[0].last, t[1].base + t[1].last, t[2].base + t[2].last,
			t[3].base + t[3].last, t[4].base + t[4].last,
		})
	}
	return r
}
