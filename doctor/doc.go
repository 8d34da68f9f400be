// Package doctor finds out why records do not arrive: it looks at a host, at
// credentials, at the way to a collector and at the collector itself, one step
// after the other, and says of each what was seen and what to do about it.
//
// What is seen of a collector is what an exporter sees: the sessions are those
// of package endpoint. No record is sent, and nothing is left behind; over plain
// UDP, where nothing answers, an IPFIX Message without Sets is.
//
// It starts no goroutine of its own.
package doctor
