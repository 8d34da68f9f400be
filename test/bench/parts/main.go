// Command parts measures two parts of the suite for themselves: the DTLS
// record layer beside crypto/cipher, whose GCM is the limit of what it can be,
// and the memory that an idle DTLS session and a template keep in a
// collector. It prints Markdown.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "parts:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("parts", flag.ContinueOnError)
	flags.SetOutput(stderr)
	each := flags.Duration("time", 500*time.Millisecond, "how long each contender works")
	sessions := flags.Int("sessions", 1000, "DTLS sessions to hold")
	client := flags.String("client", "", "hold sessions to this address (the program starts itself so)")
	dir := flags.String("pki", "", "the client's certificates")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *client != "" {
		return holdSessions(*client, *dir, *sessions)
	}
	if err := records(stdout, *each); err != nil {
		return fmt.Errorf("records: %w", err)
	}
	if err := memory(stdout, *sessions); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	return nil
}
