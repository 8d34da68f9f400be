package main

import (
	"context"
	"errors"

	"ipfixsuite/collect"
	"ipfixsuite/config"
)

// reload reads the configuration again and applies what can be applied while
// the collector runs: credentials and whom to let in (which the listeners hold
// against the sessions they have), endpoints, the log's level. Files of the
// sinks are ended, for who moves or packs them. A configuration that is wrong
// changes nothing; what cannot be changed is refused by name.
func (s *server) reload(ls *listeners, sinks []collect.Sink) {
	again, err := config.Again(s.start, serveFlags())
	if err != nil {
		config.LogError(s.log, "configuration not reloaded: all stays as it was", err)
		return
	}
	next, err := settingsOf(again, s.log)
	if err != nil {
		config.LogError(s.log, "configuration not reloaded: all stays as it was", err)
		return
	}
	config.Refuse(s.log, config.Changed(s.start, again), live...)
	_ = config.SetLevel(s.level, again) // settingsOf would have refused it
	s.summary = next.summary
	creds, err := next.credentials(s.creds, again, s.log)
	if err != nil {
		config.LogError(s.log, "credentials not reloaded: the old ones stay in use", err)
	}
	added, removed := 0, 0
	if err = next.check(s.log); err == nil {
		s.listen.Insecure = next.listen.Insecure
		added, removed, err = ls.change(next.endpoints, s.listen)
	}
	if err != nil {
		config.LogError(s.log, "not all endpoints are served", err)
	}
	if err := rotate(sinks); err != nil {
		config.LogError(s.log, "files not ended", err)
	}
	s.log.Info("reloaded", "credentials_changed", creds, "listeners_added", added, "listeners_removed", removed)
}

// rotate ends the files of the sinks that have some.
func rotate(sinks []collect.Sink) error {
	var errs []error
	for _, sink := range sinks {
		if r, ok := sink.(interface{ Rotate() error }); ok {
			errs = append(errs, r.Rotate())
		}
	}
	return errors.Join(errs...)
}

// follow reloads with each SIGHUP, and renews the credentials with their
// files, until ctx ends.
func (s *server) follow(ctx context.Context, hup <-chan struct{}, ls *listeners, sinks []collect.Sink) {
	config.Follow(ctx, hup, config.Following{
		Reload: func() { s.reload(ls, sinks) }, Credentials: s.creds, Watch: s.watch, Renewed: func() {},
	}, s.log)
}
