package collect

import (
	"encoding/binary"
	"errors"
	"log/slog"

	"ipfixsuite/ipfix"
	"ipfixsuite/templates"
	"ipfixsuite/transport"
)

// maxFaults bounds the kinds of faults told apart.
const maxFaults = 64

// fault counts what could not be decoded, by what it was, and tells of some.
func (r *receiver) fault(err error, what string) {
	r.bad = true
	if pe, ok := errors.AsType[*ipfix.ParseError](err); ok {
		what = pe.Field
	}
	if r.faults == nil {
		r.faults = make(map[string]uint64)
	}
	if _, ok := r.faults[what]; ok || len(r.faults) < maxFaults {
		r.faults[what]++
	}
	if n, ok := r.allow(); ok {
		r.log().Warn("malformed message", "domain", r.meta.Domain, "seq", r.msg.Sequence, "error", err, "suppressed", n)
	}
}

func (r *receiver) headerFault(err error, m transport.Incoming) {
	r.msg, r.meta.Domain = templates.Message{}, 0
	r.fault(err, "message header")
	if !errors.Is(err, ipfix.ErrVersion) {
		return
	}
	r.n.OtherVersions++
	hint := foreign(m.Data)
	if hint == "" {
		return
	}
	if _, ok := r.c.hints.allow(r.now); ok {
		r.log().Warn("not IPFIX", "hint", hint)
	}
}

// foreign guesses what a message is that is not IPFIX (RFC 7011, Section 9.1).
func foreign(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	switch v := binary.BigEndian.Uint16(b); {
	case v == 9:
		return "the exporter sends NetFlow v9: set it to IPFIX (version 10)"
	case v == 5 || v == 7 || v == 1 || v == 8:
		return "the exporter sends NetFlow v5 or older: set it to IPFIX (version 10)"
	case binary.BigEndian.Uint32(b) == 5:
		return "the exporter sends sFlow: set it to IPFIX"
	case 20 <= b[0] && b[0] <= 25 && b[1] == 0xfe:
		return "the exporter speaks DTLS: have it send to a dtls+udp listener"
	}
	return ""
}

func (r *receiver) tellConvention(after bool) {
	if n, ok := r.allow(); ok {
		r.log().Warn("loss account begins anew: the exporter numbers its messages otherwise than was believed",
			"domain", r.meta.Domain, "counts_itself", after, "suppressed", n)
	}
}

func (r *receiver) logTemplate(what string, ch templates.Change) {
	if n, ok := r.allow(); ok {
		r.log().Warn(what, "domain", r.meta.Domain, "template", ch.ID, "error", ch.Err, "suppressed", n)
	}
}

// allow reports whether something about this session may be logged, and how
// much was not before.
func (r *receiver) allow() (suppressed uint64, ok bool) {
	mine, ok := r.exporter.logs.allow(r.now)
	if !ok {
		return 0, false
	}
	others, ok := r.c.sampler.allow(r.now)
	return mine + others, ok
}

func (r *receiver) log() *slog.Logger {
	return r.c.log.With("exporter", r.peer.Identity, "session", r.peer.Session)
}
