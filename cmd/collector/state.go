package main

import (
	"errors"
	"log/slog"
	"time"

	"ipfixsuite/collect"
	"ipfixsuite/config"
	"ipfixsuite/state"
	"ipfixsuite/transport/dtls"
)

const (
	sessionsFile  = "sessions.json"  // secret
	templatesFile = "templates.json" // of plain datagram sessions
	// saveEvery is how much of the latest a kill -9 may cost. What is missing
	// costs a full handshake, or a wait for templates, never a record.
	saveEvery = 200 * time.Millisecond
)

// memory is what a collector remembers over its own end: --state. The nil
// *memory remembers nothing.
type memory struct {
	dir      *state.Dir
	sessions *dtls.Sessions
	keeper   *state.Keeper
	log      *slog.Logger
}

// openMemory reads the sessions that can be resumed.
func openMemory(path string, log *slog.Logger) (*memory, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nothing is remembered
	}
	dir, err := state.Open(path)
	if err != nil {
		what := config.FileError("--state "+path, err)
		switch {
		case errors.Is(err, state.ErrBusy):
			what = config.WithHint("each collector needs its own directory", what)
		case errors.Is(err, state.ErrExposed):
			what = config.WithHint("make it its user's own: chmod 700 "+path, what)
		}
		return nil, what
	}
	m := &memory{dir: dir, sessions: dtls.NewSessions(0, 0), log: log}
	m.load(sessionsFile, func(b []byte) (int, error) { return m.sessions.Load(b, time.Now()) })
	return m, nil
}

// load takes in a file. What cannot be used is told and left: it was there for
// speed, and the next save replaces it.
func (m *memory) load(name string, take func([]byte) (int, error)) {
	b, err := m.dir.Read(name)
	n := 0
	if err == nil && b != nil {
		n, err = take(b)
	}
	clear(b)
	switch {
	case err != nil:
		m.log.Warn("state cannot be used, beginning without it", "file", name, "err", err)
	case n > 0:
		m.log.Info("state restored", "file", name, "sessions", n)
	}
}

// keep gives the collector the templates of the one before, and keeps its
// state from now on.
func (m *memory) keep(col *collect.Collector) {
	if m == nil {
		return
	}
	m.load(templatesFile, col.LoadTemplates)
	m.keeper = state.Keep(m.dir, m.log,
		state.File{
			Name: sessionsFile, Every: saveEvery, Changes: m.sessions.Changes,
			Append: func(dst []byte) ([]byte, bool) { return m.sessions.Append(dst, time.Now()), true },
		},
		state.File{Name: templatesFile, Every: saveEvery, Changes: col.TemplateChanges, Append: col.AppendTemplates},
	)
}

// close saves the last state. The collector has ended.
func (m *memory) close() error {
	if m == nil {
		return nil
	}
	var err error
	if m.keeper != nil {
		err = m.keeper.Close()
	}
	return errors.Join(err, m.dir.Close())
}
