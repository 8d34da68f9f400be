package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
)

const (
	// DefaultMaxBytes bounds the spool on disk.
	DefaultMaxBytes = 1 << 30
	// DefaultSegmentBytes bounds one segment: what is dropped at once when
	// the spool is full, and looked through once after a crash.
	DefaultSegmentBytes = 16 << 20
	// minSegmentBytes leaves room for one message of the greatest length
	// and the Templates it needs.
	minSegmentBytes = 256 << 10
	// DefaultSyncEvery is the longest time of data that a power cut takes
	// with SyncInterval.
	DefaultSyncEvery = time.Second
)

// Sync says when data is forced to the disk. The death of the process alone
// loses nothing, whatever the policy.
type Sync uint8

const (
	SyncInterval Sync = iota // in the background, every SyncEvery
	SyncNever                // when the system likes
	SyncAlways               // before Append returns
)

// ParseSync reads a policy: never, always, interval or a time such as 500ms,
// which is an interval.
func ParseSync(s string) (Sync, time.Duration, error) {
	switch s {
	case "never":
		return SyncNever, 0, nil
	case "always":
		return SyncAlways, 0, nil
	case "", "interval":
		return SyncInterval, DefaultSyncEvery, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, 0, fmt.Errorf("sync %q: want never, always, interval or a time such as 500ms", s)
	}
	return SyncInterval, d, nil
}

// Config says how a Spool works. The zero value works.
type Config struct {
	// MaxBytes bounds the octets of all segments together; 0 is
	// DefaultMaxBytes.
	MaxBytes int64
	// SegmentBytes bounds one segment; 0 is DefaultSegmentBytes, or an
	// eighth of MaxBytes if that is less.
	SegmentBytes int64
	// Sync is the policy; SyncEvery the time of SyncInterval, 0 is
	// DefaultSyncEvery.
	Sync      Sync
	SyncEvery time.Duration
	// Dropped is told of each message that MaxBytes costs before it was
	// handed out, for the statistics of RFC 7011, Section 4.3. It must not
	// call the Spool. nil: nobody is told, and the segment is not read.
	Dropped func(*Entry)
	// Registry names elements; nil: IANA's.
	Registry *ie.Registry
	// Log is told of what is recovered, dropped, corrupt or cannot be
	// written; nil: nothing is logged.
	Log *slog.Logger
	// Now replaces time.Now: the Export Time of messages without one.
	Now func() time.Time
}

// Validate names every fault of the configuration.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxBytes != 0 && c.MaxBytes < 2*minSegmentBytes {
		errs = append(errs, fmt.Errorf("spool of %d octets: want %d or more", c.MaxBytes, 2*minSegmentBytes))
	}
	if c.SegmentBytes != 0 && c.SegmentBytes < minSegmentBytes {
		errs = append(errs, fmt.Errorf("segments of %d octets: want %d or more", c.SegmentBytes, minSegmentBytes))
	}
	limit := c.MaxBytes
	if limit == 0 {
		limit = DefaultMaxBytes
	}
	if c.SegmentBytes > limit/2 {
		errs = append(errs, fmt.Errorf("segments of %d octets: want at most half of %d", c.SegmentBytes, limit))
	}
	if c.Sync > SyncAlways || c.SyncEvery < 0 {
		errs = append(errs, fmt.Errorf("sync policy %d, every %v: no such policy", c.Sync, c.SyncEvery))
	}
	return errors.Join(errs...)
}

func (c *Config) setDefaults() {
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = max(minSegmentBytes, min(DefaultSegmentBytes, c.MaxBytes/8))
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = DefaultSyncEvery
	}
	if c.Registry == nil {
		c.Registry = ie.IANA()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Stats is a snapshot. At all times
//
//	RecordsRecovered + RecordsSpooled =
//	    RecordsPending + RecordsDelivered + RecordsDropped + RecordsCorrupt
type Stats struct {
	RecordsRecovered uint64 // found by Open, not delivered
	RecordsSpooled   uint64 // taken by Append
	RecordsPending   uint64 // not marked as delivered yet
	RecordsDelivered uint64 // marked by Ack
	RecordsDropped   uint64 // given up, oldest first, for MaxBytes
	RecordsCorrupt   uint64 // in messages that do not verify any more

	RecordsReplayed uint64 // handed out by Next, again after Rewind too
	RecordsRefused  uint64 // not taken: the disk was full or failed

	MessagesSpooled uint64
	BytesSpooled    uint64 // written
	BytesPending    int64  // on disk, at most MaxBytes
	Segments        int
	BytesTorn       uint64 // cut off by Open behind the last whole message
	BytesCorrupt    uint64 // skipped by Next
	WriteErrors     uint64
	SyncErrors      uint64
}

// A Message is what Append takes.
type Message struct {
	// Data is a whole IPFIX Message of Data Sets. Its Observation Domain
	// and Export Time are kept (0 is now), its Sequence Number is not: it
	// belongs to a session. Other sets are left out.
	Data []byte
	// Templates are those that its Data Sets name, and that lists in its
	// records name (RFC 6313). Others do no harm.
	Templates []*ipfix.Template
}

// Templates finds those of an Observation Domain; *templates.Active does.
type Templates interface {
	Lookup(id uint16) *ipfix.Template
	All() []*ipfix.Template
}

// Needed appends the Templates that msg needs: of each Data Set, and all of
// the domain where records hold lists.
func Needed(dst []*ipfix.Template, msg []byte, of Templates) []*ipfix.Template {
	own := len(dst)
	var sets ipfix.SetReader
	sets.Reset(msg)
	for {
		set, ok := sets.Next()
		if !ok {
			return dst
		}
		t := of.Lookup(set.ID)
		if t == nil || containsTemplate(dst, t) {
			continue
		}
		dst = append(dst, t)
		if structured(t) {
			return append(dst[:own], of.All()...)
		}
	}
}

func containsTemplate(list []*ipfix.Template, t *ipfix.Template) bool {
	for _, have := range list {
		if have == t {
			return true
		}
	}
	return false
}

func structured(t *ipfix.Template) bool {
	for i := range t.Fields {
		if t.Fields[i].Type.Structured() {
			return true
		}
	}
	return false
}
