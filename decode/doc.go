// Package decode reads flow records out of files of any kind: IPFIX Files
// (RFC 5655), captures (pcap, pcapng) of IPFIX over UDP, TCP or SCTP and of
// NetFlow version 9 or 5 over UDP, and single messages or datagrams as files.
// gzip and bzip2 are undone.
//
//	file -> what is it? -+-> messages ------------------> session -> Batch
//	                     +-> packets -> payloads -------> session -> Batch
//	                     +-> a NetFlow datagram --------> session -> Batch
//
// Files are decoded one after the other by one Decoder, and templates learnt
// from one serve the next. All files that are no captures make one session
// (RFC 5655, Section 7.3.3); in captures a session is what the addresses and
// ports tell apart. Data sets wait for their template until Close.
//
// What is wrong in a file is a Problem with its place; the rest goes on. In a
// capture, datagrams are taken for IPFIX or NetFlow by what is in them, and to
// the usual ports also if something is wrong with them.
//
// Left out: DTLS and TLS, the accounting of sequence numbers, SCTP's I-DATA. One
// goroutine uses a Decoder; it starts none.
package decode
