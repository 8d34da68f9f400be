// Package wire is the codec of DCCP packets (RFC 4340): generic and fixed
// headers, options, feature options, Ack Vectors and the checksum.
//
//	 0                   1                   2                   3
//	+-------------------------------+-------------------------------+
//	|          source port          |       destination port        |
//	+---------------+-------+-------+-------------------------------+
//	|  data offset  | CCVal | CsCov |           checksum            |
//	+-----+-------+-+-------+-------+-------------------------------+
//	| res | type  |X|   reserved    |   sequence number, 16 high    |  X=1
//	+-----+-------+-+---------------+-------------------------------+
//	|                  sequence number, 32 low                      |
//	+---------------------------------------------------------------+
//	| acknowledgement: 16 reserved, 48 number; not Request and Data |
//	+---------------------------------------------------------------+
//	| service code (Request, Response) or reset code and 3 octets   |
//	+---------------------------------------------------------------+
//	| options, padded to 32 bits        | application data …        |
//	+---------------------------------------------------------------+
//
// Data, Ack and DataAck may come with X=0: 24-bit numbers, which Extend
// widens. They are parsed, and generated when Packet.Short says so.
//
// Decoding yields views over the input. The package is pure and nothing in
// it allocates.
package wire
