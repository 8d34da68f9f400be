// Command bench measures the codec on the workloads T20, T12 and Mix50 beside
// calmh/ipfix, goflow2 and libfixbuf, all in one run and taking turns, and
// prints Markdown tables: nanoseconds and allocations a record, and the ratios
// with their targets. Only ratios within one run mean something on a machine
// that others use. It is a module of its own, so that the suite does not depend
// on its opponents.
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"time"

	"ipfixsuite/test/workload"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	each := flags.Duration("time", time.Second, "how long each contender works")
	messages := flags.Int("messages", 256, "messages of a workload")
	strict := flags.Bool("strict", false, "fail if a target is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	fb, err := newFixbuf()
	if err != nil {
		fmt.Fprintln(stderr, "bench: without libfixbuf:", err)
	} else {
		defer fb.close()
	}
	all := make(map[string]map[string]result)
	var names []string
	for _, w := range workload.All(*messages) {
		names = append(names, w.Name)
		if all[w.Name], err = one(w, fb, *each); err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	runtime.KeepAlive(sink)
	printTimes(stdout, names, all)
	if missed := printTargets(stdout, all["T20"]); missed > 0 && *strict {
		return fmt.Errorf("%d targets missed", missed)
	}
	return nil
}

// one measures all contenders on w. Libfixbuf, another process, has its turns
// before and after the others, and its better one counts.
func one(w *workload.Workload, fb *fixbuf, each time.Duration) (map[string]result, error) {
	c, err := newCollector(w)
	if err != nil {
		return nil, err
	}
	cs := c.decoders(w)
	enc, err := c.encoders(w)
	if err != nil {
		return nil, err
	}
	cs = append(cs, enc...)
	for _, peer := range []func(*workload.Workload) ([]contender, error){calmh, goflow2} {
		more, err := peer(w)
		if err != nil {
			return nil, err
		}
		cs = append(cs, more...)
	}
	const rounds = 200
	before, after := map[string]result{}, map[string]result{}
	if fb != nil {
		if before, err = fb.times(w, rounds); err != nil {
			return nil, err
		}
	}
	results := measure(cs, each)
	if fb != nil {
		if after, err = fb.times(w, rounds); err != nil {
			return nil, err
		}
	}
	maps.Copy(results, before)
	for name, r := range after {
		if r.ns < results[name].ns {
			results[name] = r
		}
	}
	return results, nil
}
