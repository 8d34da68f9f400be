package main

import (
	"log/slog"
	"maps"
	"syscall"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/transport"
)

// A teller writes to the log what the collector counted since the last time.
type teller struct {
	log       *slog.Logger
	collector *collect.Collector
	listeners *listeners

	last    collect.Summary
	refused uint64
}

// tell is silent while nothing happens; what was lost makes it a warning.
func (t *teller) tell() {
	st := t.collector.Stats()
	var refused uint64
	all := t.listeners.every()
	ls := make([]transport.ListenerStats, len(all))
	for i, l := range all {
		ls[i] = l.Stats()
		refused += ls[i].SessionsRefused + ls[i].HandshakesFailed + ls[i].HandshakesLimited
	}
	now := st.Summary(ls...)
	before, refusedBefore := t.last, t.refused
	t.last, t.refused = now, refused

	// What is late or comes after all takes back what counted as lost.
	lost := int64(now.RecordsLost) - int64(before.RecordsLost)
	undecodable := int64(now.RecordsUndecodable) - int64(before.RecordsUndecodable)
	malformed := now.MessagesMalformed - before.MessagesMalformed
	unwritten := now.RecordsUnwritten - before.RecordsUnwritten
	drops := now.SocketDrops - before.SocketDrops
	trouble := lost > 0 || undecodable > 0 || malformed > 0 || unwritten > 0 || drops > 0 || refused > refusedBefore
	if now.MessagesReceived == before.MessagesReceived && !trouble {
		return
	}
	say := t.log.Info
	if trouble {
		say = t.log.Warn
	}
	say("stats", "records", now.RecordsReceived-before.RecordsReceived, "records_lost", lost, "records_undecodable", undecodable,
		"records_unwritten", unwritten, "messages", now.MessagesReceived-before.MessagesReceived, "messages_malformed", malformed,
		"socket_drops", drops, "refused", refused-refusedBefore, "sessions", st.SessionsOpen, "exporters", st.Exporters)
}

// summary is the object of --summary: sums, then the loss account of each
// exporter, with its sessions and their streams, and what came to each socket.
type summary struct {
	collect.Summary
	Exporters []collect.ExporterAccount `json:"exporters_detail"`
	Listeners []listenerDetail          `json:"listeners_detail"`
}

type listenerDetail struct {
	Endpoint          string            `json:"endpoint"`
	Addr              string            `json:"addr"`
	DatagramsReceived uint64            `json:"datagrams_received"`
	SocketDrops       uint64            `json:"socket_drops"`
	SessionsOpened    uint64            `json:"sessions_opened"`
	SessionsRefused   uint64            `json:"sessions_refused"`
	HandshakesFailed  uint64            `json:"handshakes_failed"`
	Dropped           map[string]uint64 `json:"dropped"` // datagrams and records, by reason
}

// summary is what the collector did in all.
func (t *teller) summary() *summary {
	sum := &summary{Exporters: t.collector.Accounts()}
	all := t.listeners.every()
	ls := make([]transport.ListenerStats, len(all))
	for i, l := range all {
		st := l.Stats()
		ls[i] = st
		maps.DeleteFunc(st.Dropped, func(_ string, n uint64) bool { return n == 0 })
		sum.Listeners = append(sum.Listeners, listenerDetail{
			l.endpoint.String(), l.Addr().String(), st.DatagramsReceived, st.SocketDrops,
			st.SessionsOpened, st.SessionsRefused, st.HandshakesFailed, st.Dropped,
		})
	}
	st := t.collector.Stats()
	sum.Summary = st.Summary(ls...)
	sum.CPUSeconds = cpuSeconds()
	return sum
}

// cpuSeconds is what this process has used, user and system.
func cpuSeconds() float64 {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}
