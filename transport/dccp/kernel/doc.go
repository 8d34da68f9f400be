// Package kernel uses the DCCP sockets of a Linux kernel that has them (up to
// 6.15, and only where the modules are loaded or may be): what the kernel
// speaks itself, a user-space endpoint beside it can speak only behind a packet
// filter. Conn and Listener are those of package dccp in small: messages, MPS
// and service codes, but no word on which messages arrived.
//
// No goroutine is started: the runtime's poller waits for the sockets.
package kernel
