package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ipfixsuite/transport"
	"ipfixsuite/transport/dtls"
	"ipfixsuite/transport/udp"
)

// sessionsATurn are opened and closed one after the other before it is the
// other kind's turn.
const sessionsATurn = 200

// cpuOfProcess is what a process has used until now, user and system; 0 is
// this one. Its clock has the kernel's name for "all threads of it".
func cpuOfProcess(pid int) (time.Duration, error) {
	clock := int32(^pid<<3 | 2)
	if pid == 0 {
		clock = unix.CLOCK_PROCESS_CPUTIME_ID
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("processor time: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// cpuOfBoth is what this process and another have used.
func cpuOfBoth(pid int) (ours, theirs time.Duration, err error) {
	if ours, err = cpuOfProcess(0); err == nil {
		theirs, err = cpuOfProcess(pid)
	}
	return ours, theirs, err
}

// handshake is one turn's price of a session, opened and closed: in time until
// it is open, and in processor time of both ends.
type handshake struct {
	time, exporter, collector time.Duration
}

// handshakes compares full handshakes with resumed ones, as a rotation makes
// them: one at a time, beside a collector that serves. The dialer is this
// process.
func (b *bench) handshakes() error {
	dir, err := os.MkdirTemp(b.scratch, "ipfix-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := ours("", "dtls+udp", "ipfix").start(b, dir)
	if err != nil {
		return err
	}
	defer p.kill()
	d := &dtls.Dialer{
		Connect: func(ctx context.Context) (transport.DatagramConn, netip.AddrPort, error) {
			c, err := udp.Connect(ctx, p.to, udp.Config{})
			return c, p.to, err
		},
		Config: dtls.Config{Credentials: b.credentials, ServerName: p.to.Addr().String()},
	}
	turns := map[bool][]handshake{}
	for range 1 + 2*b.rounds { // the first warms up
		for _, full := range []bool{true, false} {
			var h handshake
			err := onCPU(b.senderCPU, func() (err error) {
				h, err = turn(d, p.cmd.Process.Pid, full)
				return err
			})
			if err != nil {
				return err
			}
			turns[full] = append(turns[full], h)
		}
	}
	fmt.Fprintf(b.stdout, "One session after the other, X.509 on both sides, each end on a processor of its own; %d turns of %d sessions.\n\n", 2*b.rounds, sessionsATurn)
	fmt.Fprint(b.stdout, "| handshake | a second | exporter, us of CPU | collector, us of CPU | time, x full | CPU of both, x full |\n|---|---:|---:|---:|---:|---:|\n")
	for _, full := range []bool{true, false} {
		var times, exporter, collector, inTime, inCPU []float64
		for i, h := range turns[full][1:] {
			ref := turns[true][1+i]
			times = append(times, h.time.Seconds()*1e6)
			exporter = append(exporter, h.exporter.Seconds()*1e6)
			collector = append(collector, h.collector.Seconds()*1e6)
			inTime = append(inTime, float64(h.time)/float64(ref.time))
			inCPU = append(inCPU, float64(h.exporter+h.collector)/float64(ref.exporter+ref.collector))
		}
		name := map[bool]string{true: "full", false: "resumed"}[full]
		fmt.Fprintf(b.stdout, "| %s | %.0f | %.0f | %.0f | %.2f | %.2f |\n", name, 1e6/median(times), median(exporter), median(collector), median(inTime), median(inCPU))
	}
	fmt.Fprintln(b.stdout)
	_, err = p.stop()
	return err
}

// turn opens and closes sessions of one kind.
func turn(d *dtls.Dialer, collector int, full bool) (h handshake, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !full { // something to resume
		s, err := d.Dial(ctx)
		if err != nil {
			return h, err
		}
		_ = s.Close(ctx)
	}
	ours, theirs, err := cpuOfBoth(collector)
	if err != nil {
		return h, err
	}
	for range sessionsATurn {
		if full {
			d.Forget()
		}
		begin := time.Now()
		s, err := d.Dial(ctx)
		if err != nil {
			return h, err
		}
		h.time += time.Since(begin)
		if resumed := s.Peer().Resumed; resumed == full {
			return h, fmt.Errorf("full %v, resumed %v", full, resumed)
		}
		_ = s.Close(ctx)
	}
	nowOurs, nowTheirs, err := cpuOfBoth(collector)
	if err != nil {
		return h, err
	}
	return handshake{h.time / sessionsATurn, (nowOurs - ours) / sessionsATurn, (nowTheirs - theirs) / sessionsATurn}, nil
}
