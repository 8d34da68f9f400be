package main

import (
	"testing"

	"ipfixsuite/test/script"
)

func TestMain(m *testing.M) { script.Main(m, "exporter", main) }

// TestScripts runs testdata/script; package script says which commands these
// files have.
func TestScripts(t *testing.T) { script.Run(t, "collector") }
