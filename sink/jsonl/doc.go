// Package jsonl is the sink that writes Data Records as JSON lines (package
// record), to the standard output or to files of a directory.
//
// In a directory, lines go to flows-<UTC time>-<serial>.jsonl.part; by size and
// age the file ends and is renamed to the name without .part, so that what has
// its final name is whole and does not change any more. Files that a process
// left which died get their names when the next one opens the directory, cut
// behind their last whole line.
//
// Lines are gathered and written 128 to 256 KiB at a time. Write takes a batch
// whole or not at all; Flush is a barrier: when it returns nil, everything
// taken has been handed to the system by write(2), and with Sync to the disk.
// What could not be written stays, up to a bound, for the next try.
//
// A Sink has no goroutine but a timer that ends the file of an idle directory;
// Close stops it. Its methods may be called concurrently.
package jsonl
