package heartbeat

import "time"

// State is what is believed of a session's peer.
type State uint8

const (
	// Alive: it answered, and nothing is overdue.
	Alive State = iota
	// Suspect: an answer is overdue; a parallel handshake is asked for.
	Suspect
	// Dead is final: this session is to be given up, what it does not confirm
	// sent again elsewhere.
	Dead
)

// Cause says why a peer is Dead.
type Cause uint8

const (
	NoCause Cause = iota
	// Silent: it answered neither requests nor a handshake in time.
	Silent
	// Stalled: handshakes succeed but requests stay unanswered. A collector
	// whose sinks do not write looks like this.
	Stalled
)

// Action is what the owner of a session is to do.
type Action uint8

const (
	None Action = iota
	// Probe: send a request, and repeat it as a Timer says until Answered.
	Probe
	// Handshake: open a session beside this one and report by SecondOpinion.
	Handshake
)

// Defaults of LivenessConfig.
const (
	DefaultInterval       = time.Second
	DefaultWindow         = 2 * time.Second
	DefaultStallAfter     = 30 * time.Second
	DefaultHandshakeEvery = 20 * time.Second
	DefaultHandshakeLimit = 40 * time.Second
	DefaultUnprovenLimit  = 2 * time.Minute
)

const (
	// slack is what the owner's loop may take to do what is due.
	slack = 100 * time.Millisecond
	// minWindow: nobody is called dead sooner, however it is configured.
	minWindow = 500 * time.Millisecond
	// minSuspicion: nobody is suspected sooner.
	minSuspicion = 400 * time.Millisecond
	// retryHandshake and maxHandshakeBackoff space the handshakes that
	// suspicion and hints ask for.
	retryHandshake      = time.Second
	maxHandshakeBackoff = time.Minute
	// maxConfirm ends the doubling of the time between handshakes that tell a
	// stalled peer from one that died meanwhile; it begins with
	// retryHandshake.
	maxConfirm = 4 * time.Second
	// minHandshakeLimit is the least time for the handshakes of a mute peer.
	minHandshakeLimit = 10 * time.Second
	// hintEvery bounds the requests sent because of hints, which are forged
	// easily.
	hintEvery = 200 * time.Millisecond
)

// LivenessConfig says how soon a peer is asked and judged. The zero value of
// each field stands for its default.
type LivenessConfig struct {
	// Interval is the time between the beginnings of two requests; default
	// 1 s (RFC 6520, Section 5.2, asks for 1 s to minutes).
	Interval time.Duration
	// DeadAfter is the time within which a peer's death is known, whenever it
	// dies; default Interval plus 2 s. A request may stay unanswered for
	// DeadAfter - Interval, but never less than 0.5 s.
	DeadAfter time.Duration
	// StallAfter is how long requests may stay unanswered while handshakes
	// succeed; default 30 s.
	StallAfter time.Duration

	// Mute says that the peer answers no requests: handshakes are the probes.
	Mute bool
	// HandshakeEvery is the time between the handshakes with a Mute peer;
	// default 20 s. HandshakeLimit bounds for how long they may fail; default
	// 40 s. Twelve times what they were measured to take will do, but no less
	// than 10 s; after a hint half of that. The sum bounds the time to detect
	// death: by default 30 s where handshakes are quick, a minute at worst, 5 s
	// after a hint.
	HandshakeEvery, HandshakeLimit time.Duration
	// Proven says that a Mute peer has completed a handshake beside a session
	// before. Some serve one session at a time: until one has succeeded,
	// failing ones say little, and HandshakeLimit holds only after a hint, else
	// UnprovenLimit; default 2 min.
	Proven        bool
	UnprovenLimit time.Duration
}

func (c LivenessConfig) withDefaults() LivenessConfig {
	setDefault(&c.Interval, DefaultInterval)
	setDefault(&c.DeadAfter, c.Interval+DefaultWindow)
	setDefault(&c.StallAfter, DefaultStallAfter)
	setDefault(&c.HandshakeEvery, DefaultHandshakeEvery)
	setDefault(&c.HandshakeLimit, DefaultHandshakeLimit)
	setDefault(&c.UnprovenLimit, DefaultUnprovenLimit)
	return c
}

// window is how long a request may stay unanswered.
func (c *LivenessConfig) window() time.Duration {
	return max(c.DeadAfter-c.Interval-slack, minWindow)
}

// limit is for how long a Mute peer's handshakes may fail.
func (c *LivenessConfig) limit(took RTT, hinted bool) time.Duration {
	if !c.Proven {
		if hinted {
			return c.HandshakeLimit
		}
		return c.UnprovenLimit
	}
	d := min(max(12*took.Timeout(c.HandshakeLimit), minHandshakeLimit), c.HandshakeLimit)
	if hinted {
		d /= 2
	}
	return d
}
