// Package core is DCCP (RFC 4340) as a machine: connections of both roles and
// what listens for them, driven by packets, by time and by the application's
// calls. It has no sockets, clocks or goroutines: whoever drives it passes the
// time in, reads Events and sends what AppendPacket makes.
//
//	          HandlePacket          AppendPacket
//	network -----------------> Conn --------------> network
//	          Send, Close        |     Event
//	application ---------------> | ----------------> application
//	          HandleTimer        |  NextTimer
//	clock ---------------------> | ----------------> clock
//
// After each call that tells a Conn something, drain its Events, call
// AppendPacket until it has no more, drain the Events of that, and set a timer
// to NextTimer. A Conn belongs to one goroutine at a time; nothing in it
// blocks. In the steady state no packet allocates.
//
// A Listener answers what belongs to no Conn: it makes the server's Conns,
// answers stray packets with Resets, and under a flood of Requests keeps no
// state at all until an Init Cookie has come back (RFC 4340, Section 8.1.4).
//
// Messages have ids of the application's choosing. It is told of each when it
// was handed to the network (Transmitted), when the peer's Ack Vector said
// that it arrived (Delivered), or did not (Lost), and which remained unknown
// when the connection ended (Unconfirmed).
//
// Left out on purpose: sending short sequence numbers (they are understood
// but never agreed to), application data on Request and Response, ECN (ECN
// Incapable is negotiated, as Linux does), Quick-Start and RFC 5596's Listen.
package core
