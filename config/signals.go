package config

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// settling is for how long signals to stop count as the first one: timeout(1)
// and some supervisors send it to the process and once more to its group.
const settling = 50 * time.Millisecond

// Signals returns a context that ends with the first SIGTERM or SIGINT, 50 ms
// behind it, so that the program can end in order; one that comes later ends
// the process at once, in the system's way. With a log, SIGHUP does not end the
// process but comes by hup, several at once as one, even where the process was
// started with it ignored (nohup). Stop gives the signals back.
func Signals(parent context.Context, log *slog.Logger) (ctx context.Context, hup <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	got, hung := make(chan os.Signal, 4), make(chan struct{}, 1)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	} else {
		signal.Notify(got, syscall.SIGHUP)
	}
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // ends with stop
		for {
			select {
			case <-ended:
				return
			case s := <-got:
				if s == syscall.SIGHUP {
					select {
					case hung <- struct{}{}:
					default: // one waits already
					}
					continue
				}
				settle(got, ended)
				signal.Reset(os.Interrupt, syscall.SIGTERM)
				log.Info("stopping: a second signal ends at once", "signal", signalName(s))
				cancel()
			}
		}
	})
	return ctx, hung, sync.OnceFunc(func() {
		signal.Stop(got)
		close(ended)
		wg.Wait()
		cancel()
	})
}

// settle lets the signals pass that come within settling, or before ended.
func settle(got <-chan os.Signal, ended <-chan struct{}) {
	over := time.NewTimer(settling)
	defer over.Stop()
	for {
		select {
		case <-over.C:
			return
		case <-ended:
			return
		case <-got:
		}
	}
}

// Hold keeps SIGHUP from ending a program that has not come to Signals yet:
// what it will read is as new as a reload would make it.
func Hold() (release func()) {
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, syscall.SIGHUP)
	return func() { signal.Stop(dropped) }
}

func signalName(s os.Signal) string {
	switch s {
	case os.Interrupt:
		return "SIGINT"
	case syscall.SIGTERM:
		return "SIGTERM"
	}
	return s.String()
}
