package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"ipfixsuite/transport/credentials"
)

// arguments is where an App keeps the program's for Again.
const arguments = "arguments"

// Again reads the settings of the running command once more, as at the start:
// command line, environment, file. flags are its flags, made anew.
func Again(c *cli.Context, flags []cli.Flag) (*cli.Context, error) {
	args, _ := c.App.Metadata[arguments].([]string)
	var again *cli.Context
	app := NewApp(c.App.Name, c.App.Usage, c.App.Reader, c.App.Writer, c.App.ErrWriter, &cli.Command{
		Name: c.Command.Name, Flags: flags,
		Action: func(c *cli.Context) error {
			again = c
			return nil
		},
	})
	if err := app.RunContext(c.Context, args); err != nil {
		return nil, err
	}
	if again == nil {
		return nil, errors.New("the command line cannot be read again")
	}
	return again, nil
}

// Changed names the flags of two readings that differ, in the order in which
// they are declared. One that is set to its default has changed only where
// its default is something else (DefaultText).
func Changed(old, now *cli.Context) []string {
	var names []string
	for _, f := range now.Command.Flags {
		name := f.Names()[0]
		differ := text(old, f) != text(now, f)
		if unset := old; !differ && old.IsSet(name) != now.IsSet(name) {
			if old.IsSet(name) {
				unset = now
			}
			d := defaultText(f)
			differ = d != "" && d != text(unset, f)
		}
		if differ {
			names = append(names, name)
		}
	}
	return names
}

// defaultText is what a flag's default is called, if that is no value of its.
func defaultText(f cli.Flag) string {
	v := reflect.ValueOf(f).Elem().FieldByName("DefaultText")
	if !v.IsValid() {
		return ""
	}
	return v.String()
}

// text is the value of a flag.
func text(c *cli.Context, f cli.Flag) string {
	name := f.Names()[0]
	if _, list := f.(*cli.StringSliceFlag); list {
		return fmt.Sprintf("%q", Values(c, name))
	}
	return fmt.Sprint(c.Value(name))
}

// Refuse tells of the settings that have changed and cannot be changed now,
// and returns the others. A flag is known by its name.
func Refuse(log *slog.Logger, changed []string, can ...string) []string {
	var may []string
	for _, name := range changed {
		if slices.Contains(can, name) {
			may = append(may, name)
			continue
		}
		log.Warn("setting needs a restart: it stays as it was", "setting", "--"+name)
	}
	return may
}

// SecurityNames are the flags that say who we are and whom we trust, as far as
// they can change while the program runs.
func SecurityNames() []string {
	return []string{"cert", "key", "ca", "psk-identity", "psk-file", "insecure"}
}

// Following is what a program does beside its work.
type Following struct {
	Reload      func() // with each SIGHUP
	Credentials *credentials.Holder
	Watch       time.Duration // between looks at their files; 0: none
	Renewed     func()        // after they were
	Look        func()        // at something else
	Every       time.Duration // so often; 0: never
}

// Follow does that until ctx ends; calls never overlap. Files that cannot be
// used are told in the log.
func Follow(ctx context.Context, hup <-chan struct{}, f Following, log *slog.Logger) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	if f.Watch > 0 {
		wg.Go(func() { // ends with ctx
			f.Credentials.Watch(ctx, f.Watch, func() {
				mu.Lock()
				defer mu.Unlock()
				log.Info("credentials renewed", "reason", "their files have changed")
				f.Renewed()
			}, func(err error) { LogError(log, "credentials not renewed: the old ones stay in use", err) })
		})
	}
	var tick <-chan time.Time
	if f.Every > 0 {
		t := time.NewTicker(f.Every)
		defer t.Stop()
		tick = t.C
	}
	for {
		do := f.Look
		select {
		case <-ctx.Done():
			return
		case <-hup:
			do = f.Reload
		case <-tick:
		}
		mu.Lock()
		do()
		mu.Unlock()
	}
}
