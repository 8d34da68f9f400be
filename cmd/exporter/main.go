// Command exporter is an IPFIX Exporting Process (RFC 7011): it meters packets
// or reads records and carries them to collectors.
package main

import (
	"context"
	"io"
	"os"

	"ipfixsuite/config"
)

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := config.NewApp("exporter", "send flow records to IPFIX collectors, securely and without losing one",
		stdin, stdout, stderr, runCommand(), doctorCommand(), checkCommand())
	return config.Run(ctx, app, args)
}
