// Package state keeps what a process remembers over its own end, be it killed
// or the machine restarted: a few small files in one folder, each replaced as a
// whole, readable by their owner only, written when their contents have
// changed.
//
// What is in the files, and whether it still holds, is the business of those
// who keep something: what is read back is no more to be trusted than what
// comes from the network. Nothing is synchronised with the disk; a loss of
// power may cost the last state, never more than that.
//
// A Keeper has one goroutine, which its Close ends.
package state
