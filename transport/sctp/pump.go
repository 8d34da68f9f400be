package sctp

import "sync"

// pump is the one goroutine that receives from an association: for a handshake
// first, then for the session.
type pump struct {
	assoc Association
	wg    sync.WaitGroup

	mu       sync.Mutex
	to       consumer
	switched chan struct{} // closed when to is another
	over     bool
	err      error // why, when over
}

// consumer is told all that an association has to tell.
type consumer interface {
	take(ev *Event)
	// abort ends the association for what the peer did.
	abort(reason error)
	// ended is the last call.
	ended(err error)
}

// gate is a consumer that can make what comes wait for the next one.
type gate interface {
	consumer
	waits(ev *Event) bool
}

// start begins to receive; the goroutine ends with the association.
func (p *pump) start(a Association, to consumer) {
	p.assoc, p.to, p.switched = a, to, make(chan struct{})
	p.wg.Go(p.run)
}

func (p *pump) run() {
	var ev Event
	for {
		if err := p.assoc.Receive(&ev); err != nil {
			p.mu.Lock()
			p.over, p.err = true, err
			to := p.to
			p.mu.Unlock()
			to.ended(err)
			return
		}
		p.mu.Lock()
		for {
			g, ok := p.to.(gate)
			if !ok || !g.waits(&ev) {
				break
			}
			next := p.switched
			p.mu.Unlock()
			<-next
			p.mu.Lock()
		}
		p.to.take(&ev)
		p.mu.Unlock()
	}
}

// turnTo hands what comes from now on to another consumer, behind what first
// does. If the association has ended meanwhile, that is told too.
func (p *pump) turnTo(to consumer, first func()) {
	p.mu.Lock()
	p.to = to
	close(p.switched)
	p.switched = make(chan struct{})
	first()
	over, err := p.over, p.err
	p.mu.Unlock()
	if over {
		to.ended(err)
	}
}
