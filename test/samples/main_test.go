package main

import (
	"os/exec"
	"strings"
	"testing"
)

// What tshark decodes of our own captures, decode gives as well.
func TestOwnCaptures(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	var out strings.Builder
	equal, err := run("../../decode/testdata", true, &out)
	if err != nil {
		t.Fatal(err)
	}
	if !equal || !strings.Contains(out.String(), "3 groups, 55 records") {
		t.Error(out.String())
	}
}
