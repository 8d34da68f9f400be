// Package link is a bad network between two real processes: a relay of UDP
// datagrams that delays, reorders, loses and doubles them as chance, with a
// seed, has it, and counts what it did. Its tests prove what sessions are
// worth on such a link, and against those who can write to it.
package link
