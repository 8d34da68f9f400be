package collect

import (
	"fmt"

	"ipfixsuite/transport"
)

// maxSources bounds the sessions of a Feed.
const maxSources = 1 << 16

// A Feed gives a Collector messages that come from somewhere else than a
// transport, such as a file: one session for each peer they name. It is not
// safe for concurrent use.
type Feed struct {
	c       *Collector
	props   transport.Properties
	sources map[transport.Peer]transport.Receiver
	session uint64
}

// NewFeed returns a Feed of sessions with these properties; the zero value is
// that of plain UDP.
func (c *Collector) NewFeed(props transport.Properties) *Feed {
	return &Feed{c: c, props: props, sources: make(map[transport.Peer]transport.Receiver)}
}

// Message takes one message of a peer, whose Session is of no account: the
// first message of each peer opens its session.
func (f *Feed) Message(p transport.Peer, m transport.Incoming) error {
	p.Session = 0
	r := f.sources[p]
	if r == nil {
		if len(f.sources) >= maxSources {
			return fmt.Errorf("more than %d sources", maxSources)
		}
		named := p
		f.session++
		named.Session = f.session
		var err error
		if r, err = f.c.Open(named, f.props); err != nil {
			return err
		}
		f.sources[p] = r
	}
	r.Message(m)
	return nil
}

// Close ends the sessions.
func (f *Feed) Close() {
	for _, r := range f.sources {
		r.Closed(nil)
	}
	clear(f.sources)
}
