// Package record implements the record layer of DTLS 1.2 (RFC 6347, Section 4)
// for the one epoch that carries data: epoch 1, after a handshake. It protects
// application data, alerts, handshake messages and heartbeats (RFC 6520) with
// AES-GCM (RFC 5288) or ChaCha20-Poly1305 (RFC 7905), plainly or under a
// Connection ID (RFC 9146).
//
//	 0      1            3        5              11                11+c
//	+------+------------+--------+---------------+-----------------+--------+
//	| type | version    | epoch  | sequence      | CID (type 25)   | length |
//	+------+------------+--------+---------------+-----------------+--------+
//	| explicit nonce (GCM: epoch and sequence)   | sealed content | tag 16  |
//	+--------------------------------------------+----------------+---------+
//
// A Sealer appends records to the caller's buffer, an Opener opens them in
// place; neither allocates. Nonces are never chosen at random: both kinds of
// AEAD take them from epoch and sequence number.
//
// Left out on purpose: other epochs (there is no renegotiation), CBC and CCM
// suites, compression. The package is pure: no sockets, clocks, goroutines.
// A Sealer and an Opener each belong to one goroutine at a time.
package record
