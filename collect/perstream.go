package collect

import (
	"slices"

	"ipfixsuite/ipfix"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

// perStreamState says what became of RFC 6526 on a session.
type perStreamState uint8

const (
	perStreamNever     perStreamState = iota // no SCTP, or the rules are not kept
	perStreamUndecided                       // no Data Record has come yet
	perStreamKept
)

// The conditions of RFC 6526, Section 4.5.3, in its order.
const (
	ruleUnannounced = "data before its reliability was told on its stream"
	ruleElsewhere   = "reliability told of a template of another stream"
	ruleTwice       = "reliability told twice of one template"
	ruleOtherStream = "data or withdrawal on another stream than its template"
	ruleLoss        = "loss on a stream whose data is all reliable"
	ruleUnordered   = "an unordered message"
)

// A perStream watches whether an exporter keeps each Template, its data and its
// withdrawal to one SCTP stream, and tells how reliably they are sent (RFC
// 6526). Then the loss of a stream is that of its Templates.
type perStream struct {
	state     perStreamState
	templates map[perTemplate]*toldTemplate // as many as the store has
}

type perTemplate struct {
	domain uint32
	id     uint16
}

type toldTemplate struct {
	options bool
	streams []uint16 // it was defined on: the first, and repetitions
	on      uint16   // the stream that said how reliable its data is
	said    bool
	lossy   bool // may be lost
}

// maxRepeats bounds the streams that are kept in mind of one Template.
const maxRepeats = 8

func newPerStream(props transport.Properties) perStream {
	if !props.Reliable || props.Stream {
		return perStream{}
	}
	return perStream{state: perStreamUndecided, templates: make(map[perTemplate]*toldTemplate)}
}

// over forgets everything: the extension is off for the rest of the session.
func (p *perStream) over() { *p = perStream{} }

// changed follows what became of a template record.
func (r *receiver) perStreamTemplate(ch templates.Change) {
	p := &r.perStream
	key := perTemplate{r.meta.Domain, ch.ID}
	t := p.templates[key]
	switch ch.Kind {
	case templates.Defined, templates.Redefined:
		p.templates[key] = &toldTemplate{options: ch.Options, streams: []uint16{r.msg.Stream}}
	case templates.Refreshed:
		if t != nil && len(t.streams) < maxRepeats && !slices.Contains(t.streams, r.msg.Stream) {
			t.streams = append(t.streams, r.msg.Stream)
		}
	case templates.Withdrawn:
		if ch.ID < ipfix.MinDataSetID { // all of a kind
			for key, t := range p.templates {
				if key.domain == r.meta.Domain && t.options == ch.Options {
					r.perStreamEnd(key, t)
				}
			}
		} else if t != nil {
			r.perStreamEnd(key, t)
		}
	}
}

func (r *receiver) perStreamEnd(key perTemplate, t *toldTemplate) {
	delete(r.perStream.templates, key)
	if r.perStream.state == perStreamKept && !t.options && !slices.Contains(t.streams, r.msg.Stream) {
		r.perStreamBroken(ruleOtherStream, key.id)
	}
}

// perStreamData looks at a Data Set that holds records; t is nil when its
// Template is not known.
func (r *receiver) perStreamData(id uint16, t *ipfix.Template) {
	p := &r.perStream
	tells := t != nil && ControlOf(t) == RecordsReliability
	if p.state == perStreamUndecided {
		// The first Data Record decides (RFC 6526, Section 4.5.2, MUST NOT).
		if !tells {
			p.over()
			return
		}
		p.state = perStreamKept
		r.n.PerStreamSessions++
	}
	told := p.templates[perTemplate{r.meta.Domain, id}]
	switch {
	case told != nil && !told.options && !slices.Contains(told.streams, r.msg.Stream):
		r.perStreamBroken(ruleOtherStream, id)
	case !tells && (told == nil || !told.said || told.on != r.msg.Stream):
		r.perStreamBroken(ruleUnannounced, id)
	}
}

// perStreamTold takes a record of how reliably a Template's data is sent.
func (r *receiver) perStreamTold(id uint16, lossy bool) {
	p := &r.perStream
	if p.state != perStreamKept {
		return
	}
	told := p.templates[perTemplate{r.meta.Domain, id}]
	switch {
	case told == nil || !told.options && !slices.Contains(told.streams, r.msg.Stream):
		r.perStreamBroken(ruleElsewhere, id)
	case told.said:
		r.perStreamBroken(ruleTwice, id)
	default:
		told.said, told.on, told.lossy = true, r.msg.Stream, lossy
		if st := r.dom.stream(r.msg.Stream, r.fromZero()); st != nil {
			st.lossy = st.lossy || lossy
		}
	}
}

// perStreamMessage looks at a message that has been accounted for; st may be
// nil.
func (r *receiver) perStreamMessage(m transport.Incoming, st *stream) {
	if r.perStream.state != perStreamKept {
		return
	}
	switch {
	case m.Unordered:
		r.perStreamBroken(ruleUnordered, 0)
	case st != nil && st.Lost > 0 && !st.lossy:
		r.perStreamBroken(ruleLoss, 0)
	}
}

// perStreamBroken ends the extension for the session (RFC 6526, Section 4.5.3,
// MUST).
func (r *receiver) perStreamBroken(rule string, id uint16) {
	if r.perStream.state != perStreamKept {
		return
	}
	r.perStream.over()
	r.n.PerStreamBroken++
	if n, ok := r.allow(); ok {
		r.log().Error("exporter began to keep RFC 6526 and broke it: losses are not told apart by template", "rule", rule,
			"domain", r.meta.Domain, "stream", r.msg.Stream, "template", id, "suppressed", n)
	}
}

// perTemplateStream is a stream of an Observation Domain.
type perTemplateStream struct {
	domain uint32
	stream uint16
}

// lossy are the Templates whose records may be lost, by stream: its loss is
// theirs (RFC 6526, Section 4.5.4).
func (p *perStream) lossy() map[perTemplateStream][]uint16 {
	if p.state != perStreamKept {
		return nil
	}
	list := make(map[perTemplateStream][]uint16)
	for key, t := range p.templates {
		if t.lossy {
			at := perTemplateStream{key.domain, t.on}
			list[at] = append(list[at], key.id)
		}
	}
	for _, ids := range list {
		slices.Sort(ids)
	}
	return list
}
