// Command collector is an IPFIX Collecting Process (RFC 7011): it takes flow
// records from exporters and writes them where they are wanted.
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
	app := config.NewApp("collector", "receive flow records from IPFIX exporters, securely and without losing one",
		stdin, stdout, stderr, serveCommand(), decodeCommand(), pkiCommand(), checkCommand(), doctorCommand())
	return config.Run(ctx, app, args)
}
