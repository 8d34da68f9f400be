package main

import (
	"log/slog"

	"ipfixsuite/export"
	"ipfixsuite/export/source"
)

// A teller writes counters to the log: now and then what changed, and at the
// end all of it.
type teller struct {
	log      *slog.Logger
	exporter sender
	source   source.Source

	out export.Stats // as told last
	in  source.Stats
}

// tell is silent while nothing happens; what was lost makes it a warning.
func (t *teller) tell() {
	out, in := t.exporter.Stats(), t.source.Stats()
	last, before := t.out, t.in
	t.out, t.in = out, in
	if in == before && out.RecordsSent == last.RecordsSent && out.RecordsDropped == last.RecordsDropped {
		return
	}
	dropped, kernel := out.RecordsDropped-last.RecordsDropped, in.KernelDrops-before.KernelDrops
	skipped := in.Skipped - before.Skipped + in.Faults - before.Faults
	say := t.log.Info
	if dropped > 0 || kernel > 0 || skipped > 0 {
		say = t.log.Warn
	}
	say("stats", "packets", in.Packets-before.Packets, "records", out.RecordsExported-last.RecordsExported,
		"records_sent", out.RecordsSent-last.RecordsSent, "records_dropped", dropped, "skipped", skipped,
		"kernel_drops", kernel, "queued_octets", out.QueuedBytes, "records_pending", out.RecordsPending,
		"connected", out.Session != nil, "stalled", out.Stalled, "stalled_channels", out.StalledChannels)
}

// done tells the sums.
func (t *teller) done() {
	out, in := t.exporter.Summary(), t.source.Stats()
	t.log.Info("done", "packets", in.Packets, "records_exported", out.RecordsExported, "records_sent", out.RecordsSent,
		"records_dropped", out.RecordsDropped, "records_unconfirmed", out.RecordsUnconfirmed, "records_pending", out.RecordsPending,
		"messages_sent", out.MessagesSent, "skipped", in.Skipped+in.Faults, "kernel_drops", in.KernelDrops)
}
