package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// transportTime is how long one run exports.
const transportTime = 2 * time.Second

// schemes are all transports that need nothing of the kernel but raw sockets,
// those for ratios first.
var schemes = []string{
	"udp", "dtls+udp", "tcp", "tls+tcp", "mta+tls+tcp", "sctp+udp", "dtls+sctp+udp",
	"dccp+udp", "dtls+dccp+udp", "dccp", "dtls+dccp",
}

// carriage is what the runs of one scheme took.
type carriage struct {
	scheme                  string
	speed, exporter, server []float64
	missing, again          float64
	failed                  error
}

// transports compares all schemes, by turns, with one session each: as fast
// as they go, and at a pace that most of them can follow. A scheme that fails
// has its error in its row.
func (b *bench) transports() error {
	paces := []struct {
		name string
		args []string
	}{
		{"as fast as it goes", nil},
		{"200000 records/s", []string{"--max-rate", "200000"}},
	}
	fmt.Fprintf(b.stdout, "T20 from a pipe through exporter and collector to ipfix files, IP packets of at most 1500 octets, each end on a processor of its own; %d rounds of %v.\nx: over udp, and over dtls+udp.\n\n", b.rounds, transportTime)
	for _, pace := range paces {
		all := make([]carriage, 0, len(schemes))
		for _, s := range schemes {
			if len(b.only) > 0 && !slices.Contains(b.only, s) {
				continue
			}
			if !raw(s) || os.Geteuid() == 0 {
				all = append(all, carriage{scheme: s})
			}
		}
		for range b.rounds {
			for i := range all {
				b.carry(&all[i], pace.args)
			}
		}
		fmt.Fprintf(b.stdout, "| %s | records/s | x udp | x dtls+udp | exporter, CPU-s/M | x udp | x dtls+udp | collector, CPU-s/M | x udp | x dtls+udp | records |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n", pace.name)
		of := func(scheme string) *carriage {
			if i := slices.IndexFunc(all, func(c carriage) bool { return c.scheme == scheme }); i >= 0 {
				return &all[i]
			}
			return new(carriage)
		}
		for i := range all {
			fmt.Fprintln(b.stdout, all[i].row(of("udp"), of("dtls+udp")))
		}
		fmt.Fprintln(b.stdout)
	}
	return nil
}

// raw tells whether a scheme is an IP protocol by itself, which takes root.
func raw(scheme string) bool { return strings.HasSuffix(scheme, "dccp") }

// carry runs one scheme once.
func (b *bench) carry(c *carriage, args []string) {
	if c.failed != nil {
		return
	}
	to, err := b.endpoint(c.scheme)
	if err != nil {
		c.failed = err
		return
	}
	e, err := b.export(to, append([]string{"--rotate", "0", "--mtu", "1500"}, args...), transportTime, b.traffic.pour)
	fmt.Fprintf(b.stderr, "%s: %+v %v\n", to, e, err)
	if err != nil {
		c.failed = err
		return
	}
	c.speed = append(c.speed, e.speed())
	c.exporter, c.server = append(c.exporter, e.cpu(e.cpuExporter)), append(c.server, e.cpu(e.cpuServer))
	c.missing, c.again = c.missing+max(e.lost, 0), c.again+max(-e.lost, 0)
}

// endpoint is where a collector of a scheme listens. The port within UDP is
// another one.
func (b *bench) endpoint(scheme string) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	to := fmt.Sprintf("%s://127.0.0.1:%d", scheme, port)
	if inner, ok := strings.CutSuffix(scheme, "+udp"); ok && inner != "dtls" {
		outer, err := freePort()
		if err != nil {
			return "", err
		}
		to += fmt.Sprintf("?udp=%d", outer)
	}
	return to, nil
}

// row is the medians, and those over the ones of two other schemes.
func (c *carriage) row(udp, dtls *carriage) string {
	if c.failed != nil {
		return fmt.Sprintf("| %s | | | | | | | | | | failed: %s |", c.scheme, strings.Join(strings.Fields(c.failed.Error()), " "))
	}
	over := func(mine, other []float64) string {
		if len(other) != len(mine) {
			return ""
		}
		ratios := make([]float64, len(mine))
		for i := range mine {
			ratios[i] = mine[i] / other[i]
		}
		return fmt.Sprintf("%.2f", median(ratios))
	}
	records := "all, once"
	if c.missing+c.again > 0 {
		records = fmt.Sprintf("%.0f missing, %.0f twice", c.missing, c.again)
	}
	return fmt.Sprintf("| %s | %.0f | %s | %s | %.3f | %s | %s | %.3f | %s | %s | %s |", c.scheme,
		median(c.speed), over(c.speed, udp.speed), over(c.speed, dtls.speed),
		median(c.exporter), over(c.exporter, udp.exporter), over(c.exporter, dtls.exporter),
		median(c.server), over(c.server, udp.server), over(c.server, dtls.server), records)
}
