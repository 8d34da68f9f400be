// Package ipfix is the IPFIX wire format, both ways: messages, sets, template
// and data records (RFC 7011, Sections 3, 6, 7 and 8.1) and the structured
// data types (RFC 6313).
//
// A message is a header and sets; a set is a header, records of one kind and
// perhaps padding:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+-------------------------------+
//	|         Version = 10          |            Length             |
//	+-------------------------------+-------------------------------+
//	|                   Export Time (UNIX seconds)                  |
//	+---------------------------------------------------------------+
//	|          Sequence Number (Data Records, modulo 2^32)          |
//	+---------------------------------------------------------------+
//	|                     Observation Domain ID                     |
//	+-------------------------------+-------------------------------+
//	| Set ID (2, 3, or template id) |          Set Length           |
//	+-------------------------------+-------------------------------+
//	|  records ... padding, then the next set                       |
//
// A [Template] is compiled once, by [NewTemplate], to a plan. [Records] walks
// the Data Records of a set by that plan, with one bounds check a record where
// every field has a fixed length and one walk over the lengths where not; the
// record is then read as views, as typed values or, for a whole set, as
// columns. Encoding appends by the same plan ([Template.AppendRecord]);
// [Builder] packs templates and encoded records into one message.
//
// Everything decoded is a view: slices alias the message and are valid as long
// as its buffer is; keep them by copying. Nothing here allocates per record.
//
// Left out: which template holds in which session and when (package
// templates), the text of values (package record), clocks, sockets and
// goroutines. All functions are pure; a value may be used by one goroutine at
// a time, a compiled Template by any number.
package ipfix
