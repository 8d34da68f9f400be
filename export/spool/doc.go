// Package spool keeps on disk the IPFIX Messages that an exporter cannot
// deliver now, in segments that are IPFIX Files (RFC 5655), and gives them
// back in order.
//
// Each segment stands alone: it holds the Templates of its data, before it
// (Section 7.2), and an id means one Template in all of it; where the exporter
// uses an id anew, the next segment begins. Sequence Numbers count within the
// segment, which is one Transport Session to its readers (Section 7.1). Export
// Times stay those of the messages.
//
// Every message ends with a Message Checksum Options record (Section 8.1.1):
// what a dying process, a full disk or a power cut left half written, or what
// the disk garbled, does not verify and is never delivered.
//
//	+---------------------------------------------------------------+
//	|  Message Header; Data Sets as they were appended              |
//	+-------------------------------+-------------------------------+
//	|   Set ID (65535 if free)      |         Length = 21           |
//	+---------------+---------------+-------------------------------+
//	| messageScope 0| messageMD5Checksum, 16 octets: over the whole |
//	+---------------+ message with these octets 0                   |
//	+---------------------------------------------------------------+
//
// A directory belongs to one Spool at a time:
//
//	spool-000000000007-41236.ipfix    a finished segment of 41236 records
//	spool-000000000008.ipfix.part     the one under way
//	cursor                            what has been delivered
//	lock                              held while the Spool is open
//
// Append returns when write(2) has, so what it took survives the death of the
// process; Sync says what survives the death of the system. Delivery is at
// least once: Next hands out, Ack marks as delivered, and what was handed out
// but not marked comes again after Rewind or a restart. When MaxBytes is
// reached the oldest segment goes, counted in records; when the disk is full
// Append refuses, and nothing that was taken is lost.
//
// Methods may be called from several goroutines. With SyncInterval one
// goroutine runs, which Close stops.
package spool
