// Package spool proves with real processes what `exporter run --spool` is
// worth: collectors that are away, exporters that are killed meanwhile, disks
// that are full. Records are numbered; what the spool holds is read by
// programs of others.
package spool
