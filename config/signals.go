package config

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Signals returns a context that ends with the first SIGTERM or SIGINT, so
// that the program can end in order; the second ends the process at once, in
// the system's way. With a log SIGHUP, which ends a process unasked, is only
// told there, unless the process was started with it ignored (nohup). Stop
// gives the signals back.
func Signals(parent context.Context, log *slog.Logger) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	got := make(chan os.Signal, 4)
	signal.Notify(got, os.Interrupt, syscall.SIGTERM)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	} else if !signal.Ignored(syscall.SIGHUP) {
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
					log.Warn("signal ignored: reload is not available in this version, restart instead", "signal", "SIGHUP")
					continue
				}
				signal.Reset(os.Interrupt, syscall.SIGTERM)
				log.Info("stopping: a second signal ends at once", "signal", signalName(s))
				cancel()
			}
		}
	})
	return ctx, sync.OnceFunc(func() {
		signal.Stop(got)
		close(ended)
		wg.Wait()
		cancel()
	})
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
