package main

import (
	"context"

	"ipfixsuite/config"
	"ipfixsuite/rotation"
)

// live are the flags that a reload can change.
var live = append([]string{"to", "server-name", "rotate", "full-handshake-every", "max-rate", "log-level", "summary"}, config.SecurityNames()...)

// reload reads the configuration again and applies what can be applied while
// the exporter runs: credentials, collectors, how often sessions are replaced,
// rates, the log's level. Then all sessions are replaced, without a gap. A
// configuration that is wrong changes nothing; what cannot be changed is
// refused by name.
func (p *program) reload(ctx context.Context) {
	const refused = "configuration not reloaded: all stays as it was"
	again, err := config.Again(p.start, runFlags())
	if err != nil {
		config.LogError(p.log, refused, err)
		return
	}
	next, err := settingsOf(again, p.log)
	if err != nil {
		config.LogError(p.log, refused, err)
		return
	}
	config.Refuse(p.log, config.Changed(p.start, again), live...)
	_ = config.SetLevel(p.level, again) // settingsOf would have refused it
	p.summary = next.summary
	next.dial.DTLS.Resume = p.dial.DTLS.Resume // a collector under another URL is still the same
	cause := rotation.Demand
	changed, err := next.credentials(p.creds, again, p.log)
	switch {
	case err != nil:
		config.LogError(p.log, "credentials not reloaded: the old ones stay in use", err)
	case changed:
		cause = rotation.Certificate
	}
	before := p.fleet.String()
	to, err := destinations(next, p.fleet.to)
	if err == nil {
		err = p.fleet.change(ctx, next, to, cause)
	}
	if err != nil {
		config.LogError(p.log, "collectors not changed: they stay as they were", err)
		p.fleet.rotate(cause, false)
	}
	args := []any{"credentials_changed", changed}
	if now := p.fleet.String(); now != before {
		args = append(args, "to", now)
	}
	p.log.Info("reloaded", args...)
}

// renewed is called when the files of the credentials were renewed.
func (p *program) renewed() { p.fleet.rotate(rotation.Certificate, true) }
