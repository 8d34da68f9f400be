package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"ipfixsuite/config"
	"ipfixsuite/export"
	"ipfixsuite/export/fanout"
	"ipfixsuite/ipfixfile"
	"ipfixsuite/transport"
)

// own is the folder of --spool itself, as a name in it.
const own = "."

// leftovers are the folders of --spool that hold records.
func (f *fleet) leftovers() ([]string, error) {
	if f.base.SpoolDir == "" {
		return nil, nil
	}
	var names []string
	for _, pattern := range []string{"", "*/"} {
		found, err := fs.Glob(os.DirFS(f.base.SpoolDir), pattern+"spool-*"+ipfixfile.Suffix+"*")
		if err != nil {
			return nil, err
		}
		for _, file := range found {
			if name := path.Dir(file); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// inherit hands on what waits in the spool for collectors that are no longer
// among those of --to: they were removed, or the configuration is another. With
// Hash any of the others may have it, with All nobody can tell who has it.
func (f *fleet) inherit(mode fanout.Mode) error {
	names, err := f.leftovers()
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.ContainsFunc(f.to, func(d destination) bool { return ipfixfile.SafeName(d.String()) == name }) {
			continue
		}
		cfg := f.base
		cfg.SpoolDir = filepath.Join(cfg.SpoolDir, name)
		if mode != fanout.Hash {
			if name == own {
				f.tellLeftover(name)
			} else {
				f.log.Warn("records wait for a collector that is not in --to", "dir", cfg.SpoolDir)
			}
			continue
		}
		cfg.Dialer = nobody{}
		cfg.Log = f.log.With("spool", cfg.SpoolDir)
		e, err := export.New(cfg)
		if err == nil {
			err = f.fan.Inherit(fanout.Collector{Name: cfg.SpoolDir, Exporter: e})
		}
		if err != nil {
			config.LogError(f.log, "spool of a former collector not handed on", spoolError(err))
		}
	}
	return nil
}

// tellLeftovers warns of what --mode failover does not look at.
func (f *fleet) tellLeftovers() error {
	names, err := f.leftovers()
	for _, name := range names {
		if name != own {
			f.tellLeftover(name)
		}
	}
	return err
}

func (f *fleet) tellLeftover(name string) {
	f.log.Warn("records wait in the spool of another --mode: nobody sends them", "dir", filepath.Join(f.base.SpoolDir, name),
		"hint", "run once with that --mode, or send the files with --source ipfix:FILE and remove them")
}

// nobody is the Dialer of a collector that is no longer there.
type nobody struct{}

var errNobody = errors.New("the collector is not in --to any more")

// Dial implements transport.Dialer.
func (nobody) Dial(context.Context) (transport.Session, error) { return nil, errNobody }
