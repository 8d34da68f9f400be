package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"

	"ipfixsuite/config"
	"ipfixsuite/endpoint"
	"ipfixsuite/transport"
)

// listening is one endpoint that is, or was, served.
type listening struct {
	transport.Listener
	endpoint transport.Endpoint
	stop     context.CancelFunc // ends its sessions in order
	ended    chan struct{}
}

// listeners are the endpoints of a collector. A reload changes them.
type listeners struct {
	log     *slog.Logger
	handler transport.Handler
	ctx     context.Context // of all
	fail    context.CancelCauseFunc
	wg      sync.WaitGroup

	mu   sync.Mutex
	all  []*listening // those that ended, too: their counters count
	gone map[*listening]bool
}

func bind(list []transport.Endpoint, cfg endpoint.Config) ([]*listening, error) {
	var bound []*listening
	for _, e := range list {
		l, err := endpoint.Listen(e, cfg)
		if err != nil {
			errs := []error{bindError(err)}
			for _, b := range bound {
				errs = append(errs, b.Close())
			}
			return nil, errors.Join(errs...)
		}
		bound = append(bound, &listening{Listener: l, endpoint: e, ended: make(chan struct{})})
	}
	return bound, nil
}

// bindError adds the way out that the system's error has.
func bindError(err error) error {
	err = fmt.Errorf("--listen %w", err)
	switch {
	case transport.Hint(err) != "": // it knows better
	case errors.Is(err, syscall.EADDRINUSE):
		return config.WithHint("another process listens there, or another --listen with the same port: ss -lntup shows which", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return config.WithHint("this host has no such address; leave the host out for all of them", err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return config.WithHint("ports below 1024 need the capability CAP_NET_BIND_SERVICE", err)
	}
	return err
}

// serve serves endpoints that are bound until the context of all ends, or
// their own. One that fails ends them all: a collector that half works would
// go unnoticed.
func (ls *listeners) serve(bound []*listening) {
	for _, b := range bound {
		ctx, stop := context.WithCancel(ls.ctx)
		b.stop = stop
		ls.mu.Lock()
		ls.all = append(ls.all, b)
		ls.mu.Unlock()
		ls.log.Info("listening", "addr", b.Addr().String(), "endpoint", b.endpoint.String())
		ls.wg.Go(func() { // ends with ctx
			defer close(b.ended)
			defer stop()
			if err := b.Serve(ctx, ls.handler); err != nil && ctx.Err() == nil {
				ls.fail(fmt.Errorf("--listen %s: %w", b.endpoint, err))
			}
			st := b.Stats()
			ls.log.Info("closed", "endpoint", b.endpoint.String(), "sessions", st.SessionsOpened, "refused", st.SessionsRefused,
				"handshakes_failed", st.HandshakesFailed, "socket_drops", st.SocketDrops, "dropped", reasons(st.Dropped))
		})
	}
}

// change makes list the endpoints that are served. New ones are bound first;
// one whose address another still holds is bound when that has ended. What
// cannot be bound is told, and costs the others nothing.
func (ls *listeners) change(list []transport.Endpoint, cfg endpoint.Config) (added, removed int, err error) {
	var fresh []transport.Endpoint
	leaving := ls.running()
	for _, e := range list {
		if i := slices.IndexFunc(leaving, func(l *listening) bool { return l.endpoint.String() == e.String() }); i >= 0 {
			leaving = slices.Delete(leaving, i, i+1)
		} else {
			fresh = append(fresh, e)
		}
	}
	var errs []error
	var blocked []transport.Endpoint
	add := func(e transport.Endpoint) error {
		bound, err := bind([]transport.Endpoint{e}, cfg)
		if err == nil {
			ls.serve(bound)
			added++
		}
		return err
	}
	for _, e := range fresh {
		switch err := add(e); {
		case errors.Is(err, syscall.EADDRINUSE) && len(leaving) > 0:
			blocked = append(blocked, e)
		case err != nil:
			errs = append(errs, err)
		}
	}
	for _, l := range leaving {
		ls.mu.Lock()
		ls.gone[l] = true
		ls.mu.Unlock()
		l.stop()
		removed++
	}
	if len(blocked) > 0 {
		for _, l := range leaving {
			<-l.ended // its peers are told: no longer than that takes
		}
	}
	for _, e := range blocked {
		if err := add(e); err != nil {
			errs = append(errs, err)
		}
	}
	return added, removed, errors.Join(errs...)
}

// running are those that are to be served.
func (ls *listeners) running() []*listening {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var list []*listening
	for _, l := range ls.all {
		if !ls.gone[l] {
			list = append(list, l)
		}
	}
	return list
}

// every one there was.
func (ls *listeners) every() []*listening {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.Clone(ls.all)
}
