package export

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"ipfixsuite/export/spool"
	"ipfixsuite/heartbeat"
	"ipfixsuite/ie"
	"ipfixsuite/ipfix"
	"ipfixsuite/rotation"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

const (
	// unknownPathMessage is the message size before any session told a
	// better one: what DTLS leaves of IPv6's minimum MTU of 1280 octets.
	unknownPathMessage = 1180
	// minMessage: below this not even a template message is worth sending.
	minMessage = 128
	// batchMessages bounds the messages of one Send.
	batchMessages = 64
	// linger is how long a few sealed messages wait for company, so that
	// they leave in one batch instead of one system call each.
	linger = time.Millisecond
	// maxDomains bounds the Observation Domains of one Exporter.
	maxDomains = 1024
	// announceCopies: Templates new to a session go out this often, in
	// messages of their own, before data where the transport may lose one
	// (RFC 7011, Section 8.4, SHOULD).
	announceCopies = 2
	// closeTimeout bounds the closing of one session.
	closeTimeout = 2 * time.Second
	// maxSessions is what a rotation.Machine permits, and some.
	maxSessions = 4
	// hintInterval is the time between two looks at a session's
	// UnreachableHints.
	hintInterval = 200 * time.Millisecond
	// primeLimit bounds the priming and proving of a session whose collector
	// answers all the while.
	primeLimit = time.Minute
	// quickDial is the least time for an attempt to open a session.
	quickDial = 3 * time.Second
	// probeTimeout ends a probe that nobody waits for any more.
	probeTimeout = time.Minute
	// sendTries bounds the attempts to send one message on a living session.
	sendTries = 3
)

// Config says how an Exporter works. The zero value of everything but Dialer
// works.
type Config struct {
	// Dialer opens sessions to the collector. It may be a Forgetter.
	Dialer transport.Dialer
	// Fallback opens sessions to further collectors, in order of preference:
	// the next is used when those before it are lost, until they are well
	// again.
	Fallback []transport.Dialer
	// ReturnAfter is how long a collector that was lost is left alone, and a
	// later one kept, before the earlier is tried again; it doubles each time
	// that fails. 0: 30 s.
	ReturnAfter time.Duration
	// Domain is the Observation Domain of Define and of the statistics.
	Domain uint32
	// ProcessID is the exportingProcessId and meteringProcessId in the
	// statistics; 0: the id of the operating system's process.
	ProcessID uint32
	// Registry names elements; nil: IANA's.
	Registry *ie.Registry

	// MaxMessage caps the size of a message in octets, below what the
	// session takes; 0: 16384.
	MaxMessage int
	// MaxDelay is how long a record may wait in an open message; 0: 1 s.
	MaxDelay time.Duration
	// QueueBytes bounds the messages that wait to be sent; 0: 8 MiB.
	QueueBytes int
	// MaxRate bounds the records sent a second; 0: no bound.
	MaxRate float64

	// Streams spreads what is sent over a session's streams.
	Streams Streams

	// TemplateRefresh is the time between retransmissions of Templates on
	// unreliable transports; 0: 1 min, negative: never by time.
	TemplateRefresh time.Duration
	// TemplateRefreshMessages is their number of messages after which
	// Templates are sent again; 0: never by messages.
	TemplateRefreshMessages uint64
	// MaxTemplates bounds the Templates of each Observation Domain; 0: 16384.
	MaxTemplates int
	// StatsInterval is the time between the options records of RFC 7011,
	// Section 4; 0: 1 min, negative: none at all.
	StatsInterval time.Duration

	// Heartbeat is the time between probes where a probe proves that the
	// collector's process lives; 0: 1 s, negative: none.
	Heartbeat time.Duration
	// DeadAfter is the time within which the death of the collector is known,
	// whenever it dies: also right after the handshake, while a new session is
	// told its Templates; 0: Heartbeat and 2 s. Before it a second session is
	// tried beside. A session that takes nothing is given up after it, too.
	DeadAfter time.Duration
	// StallAfter is how long a collector may take sessions, but confirm
	// nothing, as one whose sinks stall does, before it is given up like a
	// dead one and its window sent again; 0: twice DeadAfter where there is
	// another collector to turn to, else 30 s. Where it confirms what some
	// streams carry (MTA-TLS), the session goes on, and those alone of which it
	// confirms nothing begin anew.
	StallAfter time.Duration
	// Window bounds the octets sent that no probe has confirmed, so that a
	// fast source does not overrun the collector's socket buffer; 0:
	// 192 KiB, what a default Linux socket buffer holds; negative: no bound.
	// It has no effect where probes confirm nothing, nor where the transport
	// bounds what each stream has under way (MTA-TLS).
	Window int

	// Retain is how long what was sent may be sent again where probes confirm
	// nothing; 0: 3 s, negative: not at all. Where they do, everything is
	// kept until it is confirmed.
	Retain time.Duration
	// RetainBytes bounds the storage of what is so kept; 0: 4 MiB.
	RetainBytes int

	// Rotate is the longest time between the beginnings of two sessions; 0:
	// they are replaced only for a reason. RotateRecords and RotateOctets
	// bound what one carries; 0: no bound.
	Rotate                      time.Duration
	RotateRecords, RotateOctets uint64
	// FullHandshakeEvery makes each n-th session begin with a full handshake
	// where others resume; 0: only the first, and after failures.
	FullHandshakeEvery int
	// DrainTimeout bounds how long a replaced session waits for the
	// confirmation of what it carried; then that is sent again; 0: 5 s.
	DrainTimeout time.Duration

	// DialTimeout bounds one attempt to open a session; 0: 10 s. Where the
	// collector has been reached before, or there are others, the first
	// attempt has only DeadAfter (3 s at least), and each that fails gives the
	// next twice the time: a collector that died in the middle of a handshake,
	// or before, holds nobody up, nor does who disturbs handshakes.
	DialTimeout time.Duration
	// RedialMin and RedialMax bound the backoff between attempts; 0: 1 s
	// and 10 s, a quarter of GiveUp at most. Never below 1 s.
	RedialMin, RedialMax time.Duration
	// SpoolDir keeps on disk what memory cannot hold, what waits while there
	// is no session and what is left at the end; empty: nothing is. It
	// belongs to one Exporter. Spool says how; its Registry, Log and Dropped
	// are the Exporter's.
	//
	// Nothing that was spooled is lost, but for Spool.MaxBytes and broken
	// disks: it is marked as delivered when the collector has confirmed it
	// (where probes confirm nothing: Retain after it was sent), and comes
	// again after a restart until then. When a collector is known to be dead,
	// DeadAfter at the latest, what it had not confirmed is spooled at once,
	// and all that comes while there is no session within MaxDelay; after
	// other ends of a session, and at the beginning, a second later. A kill -9
	// of the Exporter so costs what was in memory only: with a collector that
	// lives, what is not sent yet, of MaxDelay's length if it keeps up; with
	// one that is dying, what came since it confirmed last.
	SpoolDir string
	Spool    spool.Config
	// SpoolRate bounds the records taken back out of it a second; 0: 20000,
	// negative: no bound.
	SpoolRate float64

	// GiveUp ends Run with an error after so long without a session; 0: never.
	GiveUp time.Duration

	// Log is told of sessions and faults; nil: nothing is logged.
	Log *slog.Logger
}

// Validate names every fault of the configuration.
func (c *Config) Validate() error {
	var errs []error
	if c.Dialer == nil {
		errs = append(errs, errors.New("no dialer"))
	}
	if c.MaxMessage != 0 && (c.MaxMessage < minMessage || c.MaxMessage > 65535) {
		errs = append(errs, fmt.Errorf("max message %d: want %d to 65535 octets", c.MaxMessage, minMessage))
	}
	if c.MaxRate < 0 {
		errs = append(errs, fmt.Errorf("max rate %g: want records a second, or 0 for no bound", c.MaxRate))
	}
	if c.Rotate < 0 || c.FullHandshakeEvery < 0 {
		errs = append(errs, fmt.Errorf("rotate every %v, full handshake every %d: want 0 or more", c.Rotate, c.FullHandshakeEvery))
	}
	if c.Streams > StreamPerTemplate {
		errs = append(errs, fmt.Errorf("%v: want single, per-domain or per-template", c.Streams))
	}
	if c.RetainBytes < 0 {
		errs = append(errs, fmt.Errorf("%d octets retained: want 0 or more", c.RetainBytes))
	}
	if c.QueueBytes < 0 {
		errs = append(errs, fmt.Errorf("queue of %d octets: want 0 or more", c.QueueBytes))
	}
	if err := c.Spool.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Config) setDefaults() {
	setDefault(&c.ProcessID, uint32(os.Getpid()))
	if c.Registry == nil {
		c.Registry = ie.IANA()
	}
	setDefault(&c.MaxMessage, 16384)
	setDefault(&c.MaxDelay, time.Second)
	setDefault(&c.QueueBytes, 8<<20)
	setDefault(&c.TemplateRefresh, templates.DefaultRefresh)
	setDefault(&c.MaxTemplates, 16384)
	setDefault(&c.StatsInterval, time.Minute)
	setDefault(&c.Heartbeat, time.Second)
	setDefault(&c.DeadAfter, max(c.Heartbeat, 0)+heartbeat.DefaultWindow)
	setDefault(&c.Window, 192<<10)
	setDefault(&c.Retain, 3*time.Second)
	setDefault(&c.RetainBytes, 4<<20)
	setDefault(&c.SpoolRate, defaultSpoolRate)
	setDefault(&c.DialTimeout, 10*time.Second)
	setDefault(&c.RedialMin, time.Second)
	setDefault(&c.RedialMax, 10*time.Second)
	if c.GiveUp > 0 {
		c.RedialMax = min(c.RedialMax, c.GiveUp/4)
	}
	c.RedialMin = max(c.RedialMin, time.Second)
	c.RedialMax = max(c.RedialMax, c.RedialMin)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// dialers are all collectors in order of preference.
func (c *Config) dialers() []transport.Dialer {
	return append([]transport.Dialer{c.Dialer}, c.Fallback...)
}

func (c *Config) rotation() rotation.Config {
	return rotation.Config{
		Period: c.Rotate, Records: c.RotateRecords, Octets: c.RotateOctets, FullEvery: c.FullHandshakeEvery,
		// The dial has its own timeout; this one is for a Dialer that does
		// not obey its context.
		BuildTimeout: c.DialTimeout + time.Second, PrimeTimeout: primeLimit, DrainTimeout: c.DrainTimeout,
		RetryMin: c.RedialMin, RetryMax: c.RedialMax,
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// reuseAfter is how long a withdrawn Template's id rests.
func (c *Config) reuseAfter() time.Duration {
	if c.TemplateRefresh > 0 {
		return 3 * c.TemplateRefresh
	}
	return 3 * templates.DefaultRefresh
}

func (c *Config) schedule(p transport.Properties) templates.ScheduleConfig {
	return templates.ScheduleConfig{
		Reliable:        p.Reliable,
		Refresh:         c.TemplateRefresh,
		RefreshMessages: c.TemplateRefreshMessages,
	}
}

// A Template is an ipfix.Template that an Exporter has defined: what Write
// needs to know of a record.
type Template struct {
	*ipfix.Template
	dom  *domain
	lane *lane
	// Where its records count packets and octets, for the account of what
	// was dropped.
	packets, octets []int
}

// Domain is the Observation Domain the Template is defined in.
func (t *Template) Domain() uint32 { return t.dom.id }
