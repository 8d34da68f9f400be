// Package wire reads and writes SCTP packets: the common header, chunks,
// parameters and error causes of RFC 9260, Section 3, as far as a layer beside
// an SCTP engine needs them, and the parameters and the chunk of RFC 4895
// (authentication) and RFC 3758 (partial reliability).
//
//	 0               2               4               8              12
//	+---------------+---------------+---------------+---------------+
//	| source port   | destination   | verification  | CRC32c        |
//	|               | port          | tag           | (low first)   |
//	+-------+-------+---------------+---------------+---------------+
//	| type  | flags | length        | value                         |  chunk, padded to 4
//	+-------+-------+---------------+-------------------------------+
//	| type          | length        | value                         |  parameter or cause
//	+---------------+---------------+-------------------------------+
//
// Lengths count the header of a chunk or parameter and not its padding.
// Everything parsed is a view of the packet; everything written is appended to
// the caller's buffer. The package is pure: no sockets, clocks, goroutines.
package wire
